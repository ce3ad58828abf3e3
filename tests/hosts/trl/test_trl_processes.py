"""One process or two (gloo), one micro-batch or two: the same global batch ends in the same controller state."""

from __future__ import annotations

import json

import pytest
from hosts.trl.processes_case import main
from ranks import on_ranks

pytestmark = [pytest.mark.filterwarnings("default")]


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
    on_ranks(2, main, str(tmp_path / "two"), 4, 1, variables={"ACCELERATE_USE_CPU": "true"})
    two = flat(json.loads((tmp_path / "two" / "record.json").read_text()))
    assert one.keys() == accumulated.keys() == two.keys()
    off = [
        (key, value, accumulated[key], two[key])
        for key, value in one.items()
        if accumulated[key] != pytest.approx(value, rel=2e-4, abs=1e-6)
        or two[key] != pytest.approx(value, rel=2e-4, abs=1e-6)
    ]
    assert not off
