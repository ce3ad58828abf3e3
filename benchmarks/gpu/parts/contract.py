"""Part 1: the suite's tests that can run on the device, with every implementation of the statistics.

The device is a parameter of the tests (ENTROSTAT_TEST_DEVICE). One row for each file: what passed, what failed and how.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import Any

from record import ROOT, Results

FILES = (
    "tests/stats/test_hidden_contract.py",
    "tests/stats/test_token_stats.py",
    "tests/hosts/trl",
)


def suite(device: str, file: str, only: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "pytest", file, "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"]
    command += [
        "--tb=short",
        "-o",
        "addopts=-q --import-mode=importlib",
        "-o",
        "filterwarnings=default",
        "-m",
        "not slow",
    ]
    environment = os.environ | {"ENTROSTAT_TEST_DEVICE": device, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "4"}
    began = time.perf_counter()
    done = subprocess.run(
        [*command, *(["-k", only] if only else [])], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    counts = {
        kind: int(number) for number, kind in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout[-400:])
    }
    row = {"seconds": round(time.perf_counter() - began, 1), **counts}
    if done.returncode:
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        row |= {"error": f"pytest ended with {done.returncode}", "failures": failed[:80]}
        row["where"] = done.stdout[-6000:] + done.stderr[-1500:]
    return row


def main(device: str, results: Results, rehearse: bool) -> None:
    for file in FILES[:1] if rehearse else FILES:
        only = "(torch or triton) and (softcap or strided or near_certain)" if rehearse else ""
        results.measure({"file": file, "device": device}, lambda file=file, only=only: suite(device, file, only))
