"""Run the studies of entropy control and write down what came out: `python benchmarks/control/run.py`.

Resumable: a run whose folder holds a summary is not run again, one that was interrupted goes on from its checkpoint or
starts over. Two runs go side by side, one thread each. `results.json` is written anew after every run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from results import collect
from studies import STUDIES, Case, all_cases

HERE = Path(__file__).parent
RUNS = HERE / "runs"


def run(case: Case) -> str:
    """One run in a process of its own; returns a line that says how it went."""
    folder = RUNS / case.name
    if (folder / "summary.json").exists():
        return f"{case.name}: there already"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "entrostat.cli.main", "train", *case.arguments, "--out", str(folder), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        return f"{case.name}: FAILED\n{done.stderr[-2000:]}"
    summary = json.loads((folder / "summary.json").read_text())
    return f"{case.name}: {json.dumps(summary['entropy'])} {summary['train_seconds']} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", default=list(STUDIES), help=f"of {list(STUDIES)}")
    parser.add_argument("--workers", type=int, default=2, help="runs side by side")
    options = parser.parse_args()
    with ThreadPoolExecutor(options.workers) as pool:
        for future in as_completed([pool.submit(run, case) for case in all_cases(tuple(options.studies))]):
            print(future.result(), flush=True)
            collect(RUNS, HERE / "results.json")


if __name__ == "__main__":
    main()
