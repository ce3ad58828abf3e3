"""From run folders to `tiny.json`: what every run's entropy, reward and groups did, a hundred steps at a time."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from common.rows import earlier, environments, with_earlier
from studies import ARMS, Case

from entrostat.run.folder import write_json
from entrostat.run.record import Run

WINDOW, CURVE = 100, 10
COLUMNS = {
    "entropy": "entropy_control/measured",
    "target": "entropy_control/target",
    "reward": "reward",
    "without_spread": "frac_reward_zero_std",
    "output": "entropy_control/output",
}
SEEDS = range(11, 21)


def taken(folder: Path) -> int:
    """The steps of a concluded run; 0 where there is none."""
    path = folder / "summary.json"
    return int(json.loads(path.read_text())["steps"]) if path.exists() else 0


def collect(runs: Path, path: Path) -> dict[str, Any]:
    """Read every concluded run below `runs` into `path`, beside the rows of runs that were made elsewhere."""
    order = [Case(arm, seed) for arm in ARMS for seed in SEEDS]
    done = [(case, Run.load(runs / case.name)) for case in order if taken(runs / case.name)]
    before = earlier(path)
    named = [{"arm": case.arm, "seed": case.seed} for case in order]
    record = {
        "environments": environments([run.environment for _, run in done], before.get("environments", [])),
        "runs": with_earlier([row_of(case, run) for case, run in done], before.get("runs", []), named),
    }
    write_json(path, before | record)
    return record


def row_of(case: Case, run: Run) -> dict[str, Any]:
    """One run: means over windows of 100 steps, a curve of means over 10, and who made it."""
    columns = {name: run.column(key)[1] for name, key in COLUMNS.items()}
    return {
        "arm": case.arm,
        "seed": case.seed,
        "steps": run.summary["steps"],
        "commit": run.environment.get("git"),
        "seconds_per_step": round(run.summary["train_seconds"] / run.summary["steps"], 2),
        "windows": {name: means(values, WINDOW) for name, values in columns.items() if values},
        "judged": {
            row["step"]: {key[5:]: value for key, value in row.items() if key.startswith("eval/")}
            for row in run.metrics
            if "eval/greedy" in row
        },
        "curve": {name: means(columns[name], CURVE) for name in ("entropy", "reward", "without_spread")},
    }


def means(values: list[float], size: int) -> list[float]:
    """Mean of every whole window of `size` steps."""
    return [round(fmean(values[at : at + size]), 4) for at in range(0, len(values) - size + 1, size)]
