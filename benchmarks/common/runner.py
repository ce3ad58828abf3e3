"""Training runs in processes of their own, several side by side, none of them twice.

A run whose folder holds a summary is not run again; one that was interrupted starts over. Shared by the studies under
`benchmarks/`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Protocol


class Case(Protocol):
    """One run: the folder that it is kept in, and what `entrostat train`, or another program, is told."""

    @property
    def name(self) -> str: ...

    @property
    def arguments(self) -> list[str]: ...


TRAIN = ("-m", "entrostat.cli.main", "train")
# glibc returns blocks as large as a batch's activations to the system at once and has their pages zeroed again on the next
# step; kept, a step of a thousand completions takes a seventh less time, with the same numbers.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(1 << 30),
}


def add_options(parser: argparse.ArgumentParser, workers: int = 2) -> None:
    """The options of every study's `run.py`."""
    parser.add_argument("--workers", type=int, default=workers, help="runs side by side")
    parser.add_argument(
        "--prefix", default="", help="words before the command of each run, such as 'nice -n 5' or 'taskset -c 1'"
    )


def finished(runs: Path, case: Case) -> bool:
    """Whether this run has been concluded."""
    return (runs / case.name / "summary.json").exists()


def run(case: Case, runs: Path, prefix: str = "", program: Sequence[str] = TRAIN) -> str:
    """One run in a process of its own; returns a line that says how it went."""
    if finished(runs, case):
        return f"{case.name}: there already"
    folder = runs / case.name
    shutil.rmtree(folder, ignore_errors=True)
    train = [sys.executable, *program, *case.arguments, "--out", str(folder), "--quiet"]
    threads = {"OMP_NUM_THREADS": "1"} if "model=tiny" in case.arguments else {}  # more do not make it faster
    environment = os.environ | KEEP_MEMORY | threads
    done = subprocess.run([*shlex.split(prefix), *train], capture_output=True, text=True, env=environment)
    if done.returncode:
        return f"{case.name}: FAILED\n{done.stderr[-2000:]}"
    summary = json.loads((folder / "summary.json").read_text())
    return f"{case.name}: {json.dumps(summary['entropy'])} {summary['train_seconds']} s"


def run_all(
    cases: Sequence[Case],
    runs: Path,
    after_each: Callable[[], object],
    workers: int = 2,
    prefix: str = "",
    program: Sequence[str] = TRAIN,
) -> None:
    """Every run in the order given, `workers` at a time; `after_each` is called in this thread as each one ends.

    `program` is what Python is told before a run's arguments.
    """
    with ThreadPoolExecutor(workers) as pool:
        for future in as_completed([pool.submit(run, case, runs, prefix, program) for case in cases]):
            print(future.result(), flush=True)
            after_each()
