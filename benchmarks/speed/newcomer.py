"""The way of a newcomer, timed: install into a fresh environment, train, diagnose, report: `python benchmarks/speed/newcomer.py`.

What the pages say, from an empty folder. The figures go into newcomer.json and, as one sentence, into docs/index.md.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from common.markdown import write_between

from entrostat.run.environment import environment

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE, RESULT = ROOT / "docs" / "index.md", HERE / "newcomer.json"
# torch comes from this machine's disk where pip finds a build for CPUs there, as in the Makefile; else with the second line.
STEPS = {
    "install": [
        [sys.executable, "-m", "venv", "env"],
        ["env/bin/pip", "install", "--quiet", "--no-index", "--no-deps", "torch==2.13.0"],
        ["env/bin/pip", "install", "--quiet", f"{ROOT}[train]"],
    ],
    "train": [["env/bin/entrostat", "train", "--out", "run"]],
    "diagnose": [["env/bin/entrostat", "diagnose", "run"]],
    "report": [["env/bin/entrostat", "report", "run"]],
}


def timed(folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds of each step by the clock, and of the processors. Nothing of this process's own environment is seen."""
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    seconds = {}
    for name, commands in STEPS.items():
        began, used = time.perf_counter(), processors()
        for command in commands:
            done = subprocess.run(command, cwd=folder, env=outside, capture_output=True, text=True)
            if done.returncode and "--no-index" not in command:
                sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        seconds[name] = round(time.perf_counter() - began, 1), round(processors() - used, 1)
        print(f"{name}: {seconds[name][0]:.0f} s, of the processors {seconds[name][1]:.0f} s", flush=True)
    assert (folder / "run" / "report.html").stat().st_size > 50_000
    return seconds


def processors() -> float:
    """Seconds of processor time that the commands so far have used."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def sentence(record: dict[str, Any]) -> str:
    """What the page says, by the clock."""
    seconds = record["seconds"]
    parts = ", ".join(f"{name} {clock:.0f} s" for name, (clock, _) in seconds.items())
    return f"All of it took {sum(clock for clock, _ in seconds.values()) / 60:.1f} minutes on {record['cores']} cores: {parts}."


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        record: dict[str, Any] = {
            "environment": environment(),
            "load_before": os.getloadavg()[0],
            "cores": os.cpu_count(),
        }
        record["seconds"] = timed(Path(folder))
        record["load_after"] = os.getloadavg()[0]
    RESULT.write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "benchmarks/speed/newcomer.py", sentence(record))
    print(sentence(record))


if __name__ == "__main__":
    main()
