"""Run the long study: `python benchmarks/quality/long/run.py QUEUE`, where each line of QUEUE is `arm seed steps`, and
`smollm2` behind them where it is not the tiny policy.

    plain 11 600
    clip_b-1 11 600
    plain 11 300 smollm2

The queue is read anew before every run, so it can be changed while it works; lines that are done are passed over, and a line
that asks for more steps of a finished run goes on with it, but for an arm whose target moves: a run keeps the end that it was
begun with, so such a line is refused. An interrupted run goes on from its newest checkpoint. Several processes may share one
queue: a run is claimed by its folder.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from common.runner import KEEP_MEMORY, TRAIN
from filelock import FileLock, Timeout
from results import collect, taken
from studies import ARMS, POLICIES, Case

from entrostat.run.config import load_config
from entrostat.run.folder import CONFIG

HERE = Path(__file__).parent


def read_queue(path: Path) -> list[tuple[Case, int]]:
    """The runs that are asked for, in order; blank lines and what follows a # are left out."""
    wanted = []
    for line in path.read_text().splitlines():
        words = line.partition("#")[0].split()
        if words:
            arm, seed, steps, *policy = words
            case = Case(arm, int(seed), *policy)
            for name, known in ((case.arm, ARMS), (case.policy, POLICIES)):
                if name not in known:
                    raise SystemExit(f"{path}: nothing is called {name!r}; choose of {', '.join(known)}")
            wanted.append((case, int(steps)))
    return wanted


def train(case: Case, steps: int, runs: Path, prefix: str) -> str:
    """One run, or the rest of one, in a process of its own; returns a line that says how it went."""
    folder = runs / case.name
    if said := begun_otherwise(folder, case, steps):
        return f"{case.name}: FAILED\n{said}"
    where = ["--resume", str(folder)] if (folder / CONFIG).exists() else ["--out", str(folder)]
    command = [*shlex.split(prefix), sys.executable, *TRAIN]
    told = [f"steps={steps}"] if where[0] == "--resume" else case.arguments(steps)
    done = subprocess.run(
        [*command, *told, *where, "--quiet"],
        capture_output=True,
        text=True,
        env=os.environ | KEEP_MEMORY | {"OMP_NUM_THREADS": "1"},
    )
    return f"{case.name}: {taken(folder)} steps" + (f"\nFAILED\n{done.stderr[-2000:]}" if done.returncode else "")


def begun_otherwise(folder: Path, case: Case, steps: int) -> str | None:
    """What to say where the run in `folder` was begun with another method than one of `steps` has; None: it can go on."""
    if not (folder / CONFIG).exists():
        return None
    began, asked = load_config(folder / CONFIG).method, load_config(None, case.arguments(steps)).method
    if began == asked:
        return None
    return (
        f"{folder} was begun with {began.model_dump()}, and a run of {steps} steps has {asked.model_dump()}: a run keeps its "
        "method. Ask for the steps that it was begun with, or begin anew with another --runs"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("queue", type=Path, help="a file with a line `arm seed steps [policy]` for each run")
    parser.add_argument("--runs", type=Path, default=HERE / "runs", help="where the folders of runs are")
    parser.add_argument("--prefix", default="nice -n 10", help="words before the command of each run")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    failed: set[str] = set()
    while True:
        for case, steps in read_queue(options.queue):
            if case.name in failed or taken(options.runs / case.name) >= steps:
                continue
            lock = FileLock(options.runs / f"{case.name}.claimed")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue  # another process is at it
            try:
                said = train(case, steps, options.runs, options.prefix)
            finally:
                lock.release()
            print(said, flush=True)
            if "FAILED" in said:
                failed.add(case.name)
            collect(options.runs, HERE / f"{case.policy}.json", case.policy)
            break
        else:
            return


if __name__ == "__main__":
    main()
