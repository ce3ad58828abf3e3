"""Part 1: the suite's tests that can run on the device, with every implementation of the statistics.

The device is a parameter of the tests (ENTROSTAT_TEST_DEVICE; tests/device.py). One row for each file: what passed, what failed
and how. The rehearsal's device is `elsewhere`: the CPU's numbers behind an accelerator's rules.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from record import ROOT, Results

FOLDERS = ("tests/stats", "tests/methods", "tests/core", "tests/attribution", "tests/hosts/trl")
FIRST = ("tests/stats/test_hidden_contract.py", "tests/stats/test_token_stats.py")
# Of the CPU alone: what its own threads and its interpreter of Triton do, and what has no tensors.
LEFT_OUT = ("test_triton_interpreter.py", "test_hidden_benchmark.py", "test_yaml_file.py", "test_docs.py")
TOGETHER = 6
REHEARSED = (
    "tests/stats/test_hidden_contract.py tests/stats/test_clusters.py tests/core/test_totals.py",
    "(torch and near_certain) or test_clusters or counts_of_a_share or top_fraction",
)


def files() -> list[str]:
    """The most telling first."""
    found = [
        path for folder in FOLDERS for path in sorted((ROOT / folder).glob("test_*.py")) if path.name not in LEFT_OUT
    ]
    return [*FIRST, *(name for path in found if (name := str(path.relative_to(ROOT))) not in FIRST)]


def suite(device: str, file: str, only: str) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        *file.split(),
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-p",
        "no:randomly",
    ]
    command += [
        "--tb=short",
        "-o",
        "addopts=-q --import-mode=importlib",
        "-o",
        "filterwarnings=default",
        "-m",
        "not slow",
    ]
    environment = os.environ | {"ENTROSTAT_TEST_DEVICE": device, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    began = time.perf_counter()
    done = subprocess.run(
        [*command, *(["-k", only] if only else [])], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    counts = {
        kind: int(number) for number, kind in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout[-400:])
    }
    row: dict[str, Any] = {"seconds": round(time.perf_counter() - began, 1), **counts}
    if done.returncode:
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        row |= {"error": f"pytest ended with {done.returncode}", "failures": failed[:80]}
        row["where"] = done.stdout[-6000:] + done.stderr[-1500:]
    return row


def main(device: str, results: Results, rehearse: bool) -> None:
    if rehearse:
        names, only = REHEARSED
        results.measure({"file": names, "device": "elsewhere"}, lambda: suite("elsewhere", names, only))
        return
    with ThreadPoolExecutor(TOGETHER) as pool:
        for file in files():
            pool.submit(results.measure, {"file": file, "device": device}, lambda file=file: suite(device, file, ""))
