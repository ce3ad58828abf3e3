"""One process or two (gloo), one micro-batch or two: the same global batch ends in the same controller state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hosts.trl.processes_case import main

pytestmark = [pytest.mark.filterwarnings("default")]

CASE = Path(__file__).with_name("processes_case.py")


def two_processes(directory: Path, batch: int) -> dict:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command += [str(CASE), str(directory), str(batch), "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((directory / "record.json").read_text())


def flat(value, path=""):
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, item in items for k, v in flat(item, f"{path}/{key}").items()}
    return {path: value}


def test_the_number_of_processes_and_micro_batches_makes_no_difference(tmp_path):
    for name in ("one", "accumulated", "two"):
        (tmp_path / name).mkdir()
    one = flat(main(str(tmp_path / "one"), 8, 1))
    accumulated = flat(main(str(tmp_path / "accumulated"), 4, 2))
    two = flat(two_processes(tmp_path / "two", 4))
    assert one.keys() == accumulated.keys() == two.keys()
    off = [
        (key, value, accumulated[key], two[key])
        for key, value in one.items()
        if accumulated[key] != pytest.approx(value, rel=2e-4, abs=1e-6)
        or two[key] != pytest.approx(value, rel=2e-4, abs=1e-6)
    ]
    assert not off
