"""The Triton kernels on a CPU: Triton's interpreter is chosen when Triton is imported, hence a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")


def test_the_contract_under_the_interpreter() -> None:
    suite = Path(__file__).with_name("test_hidden_contract.py")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", str(suite), "-k", "triton", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=suite.parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert "skipped" not in run.stdout.splitlines()[-1]
