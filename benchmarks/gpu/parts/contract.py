"""Part 1: the suite's tests that can run on the device, with every implementation of the statistics.

The device is a parameter of the tests (ENTROSTAT_TEST_DEVICE; tests/device.py). One row for each file: what passed, what failed
and how; each test's outcome is in `tests/` beside the rows as soon as it is known (`plugin/`), so that a file that was cut off
goes on behind its last test. The rehearsal's device is `elsewhere`: the CPU's numbers behind an accelerator's rules.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from record import ROOT, Results
from run import BROKEN, HERE

sys.path.append(str(HERE / "plugin"))

import gpu_progress as progress

FOLDERS = ("tests/stats", "tests/methods", "tests/core", "tests/attribution", "tests/hosts/trl")
# The kernels, then how TRL's trainer meets them; methods' contract is the longest file.
FIRST = (
    "tests/stats/test_hidden_contract.py",
    "tests/stats/test_token_stats.py",
    "tests/hosts/trl/test_trl_head.py",
    "tests/hosts/trl/test_trl.py",
    "tests/methods/test_contract.py",
)
# Of the CPU alone: what its own threads and its interpreter of Triton do, and what has no tensors.
LEFT_OUT = ("test_triton_interpreter.py", "test_hidden_benchmark.py", "test_yaml_file.py", "test_docs.py")
TOGETHER = 12  # files at a time, at most: importing torch and TRL is most of what a short one does
SPARE = 10.0  # seconds beyond the part's last row that a test may take to come to its end
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


def suite(device: str, file: str, results: Results, only: str = "") -> dict[str, Any]:
    """The row of one file, or of several: as many processes of pytest as it takes, until the part's time is over."""
    name = re.sub(r"[^a-z0-9]+", "_", f"{device} {file} {only}".lower())[:100]
    told = results.path.parent / "tests" / f"{name}.jsonl"
    told.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pytest", *file.split(), "--tb=short", "-m", "not slow"]
    # None of the plugins that this Python has for others; the suite's own options are of two workers and of the CPU.
    command += ["-p", "no:cacheprovider", "-p", "gpu_progress"]
    command += ["-o", "addopts=-q --import-mode=importlib", "-o", "filterwarnings=default"]
    command += ["-k", only] if only else []
    environment = os.environ | {
        "ENTROSTAT_TEST_DEVICE": device,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(HERE / "plugin")])),
        progress.FILE: str(told),
        progress.CODE: str(BROKEN),
    }
    began, code, said = time.perf_counter(), BROKEN, ""
    while code == BROKEN:
        code, said = within(command, environment, results.left() + SPARE)
    rows = progress.outcomes(told)
    failed = [row for row in rows.values() if row["outcome"] == "failed"]
    row: dict[str, Any] = {"seconds": round(time.perf_counter() - began, 1), **progress.counts(rows.values())}
    if failed:
        row |= {"error": f"{len(failed)} tests failed", "failures": [each["test"] for each in failed][:80]}
        row["where"] = "\n".join(each["where"] for each in failed[:5])[-6000:]
    if code is None:
        row |= {"error": "cut off by the time limit; the next call goes on", "cut_off": True}
    elif code not in (0, 1, 5) or (code == 1 and not failed) or not rows:  # 5: nothing was left to run
        row |= {"error": f"pytest ended with {code}", "where": said[-6000:]}
    return row


def within(command: list[str], environment: dict[str, str], seconds: float) -> tuple[int | None, str]:
    """A process's exit code and what it wrote; None where its time was over first. What it leaves behind, `run.py` ends."""
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT)
        code = None
        try:
            code = process.wait(None if math.isinf(seconds) else seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        return code, said.read()


def main(device: str, results: Results, rehearse: bool) -> None:
    if rehearse:
        names, only = REHEARSED
        results.measure({"file": names, "device": "elsewhere"}, lambda: suite("elsewhere", names, results, only))
        return
    with ThreadPoolExecutor(min(TOGETHER, max((os.cpu_count() or 2) - 2, 1))) as pool:
        for file in files():
            pool.submit(
                results.measure, {"file": file, "device": device}, lambda file=file: suite(device, file, results)
            )
