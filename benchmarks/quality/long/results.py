"""From run folders to `tiny.json`, `wide.json` and `smollm2.json`: entropy, reward and groups of every run, by 100 steps."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from common.rows import earlier, environments, with_earlier
from studies import ARMS, Case

from entrostat.control.response import centered_mean
from entrostat.run.folder import write_json
from entrostat.run.record import Run

WINDOW, CURVE, SMOOTH = 100, 10, 9
COLUMNS = {
    "entropy": "entropy_control/measured",
    "target": "entropy_control/target",
    "reward": "reward",
    "without_spread": "frac_reward_zero_std",
    "output": "entropy_control/output",
}
NOISE = "token_entropy/standard_error"
SEEDS = range(11, 21)


def taken(folder: Path) -> int:
    """The steps of a concluded run; 0 where there is none."""
    path = folder / "summary.json"
    return int(json.loads(path.read_text())["steps"]) if path.exists() else 0


def collect(runs: Path, path: Path, policy: str = "tiny") -> dict[str, Any]:
    """Read every concluded run of a policy below `runs` into `path`, beside the rows of runs that were made elsewhere."""
    order = [Case(arm, seed, policy) for arm in ARMS for seed in SEEDS]
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
    columns = {name: each_step(*run.column(key)) for name, key in COLUMNS.items()}
    windows = {name: means(values, WINDOW) for name, values in columns.items() if values}
    if any(columns["target"]):
        windows |= apart(columns["entropy"], columns["target"], run.column(NOISE)[1])
    return {
        "arm": case.arm,
        "seed": case.seed,
        "steps": run.summary["steps"],
        "commit": run.environment.get("git"),
        "seconds_per_step": round(run.summary["train_seconds"] / run.summary["steps"], 2),
        "windows": windows,
        "judged": {
            row["step"]: {key[5:]: value for key, value in row.items() if key.startswith("eval/")}
            for row in run.metrics
            if "eval/greedy" in row
        },
        "curve": {name: means(columns[name], CURVE) for name in ("entropy", "reward", "without_spread")},
    }


def each_step(steps: list[int], values: list[float]) -> list[float]:
    """A value for every step: the host writes some down with a batch's first update alone, and they hold for the others."""
    if len(steps) < 2:
        return values
    ends = [*steps[1:], 2 * steps[-1] - steps[-2]]
    return [value for first, end, value in zip(steps, ends, values, strict=True) for _ in range(first, end)]


def apart(entropy: list[float], target: list[float], noise: list[float]) -> dict[str, list[float]]:
    """How far the entropy is from its target, by window.

    noise: rms of the batches' own standard errors, in proportion to the target. smoothed: rms of the error after a centered mean
    over nine steps, in units of what that noise leaves in such a mean.
    """
    smoothed = centered_mean([h - wanted for h, wanted in zip(entropy, target, strict=True)], SMOOTH)
    own, left = (
        [mean**0.5 for mean in means([each**2 for each in values], WINDOW, 15)] for values in (noise, smoothed)
    )
    return {
        "noise": [round(each / wanted, 4) for each, wanted in zip(own, means(target, WINDOW), strict=True)],
        "smoothed": [round(SMOOTH**0.5 * error / each, 3) for error, each in zip(left, own, strict=True)],
    }


def means(values: list[float], size: int, digits: int = 4) -> list[float]:
    """Mean of every whole window of `size` steps."""
    return [round(fmean(values[at : at + size]), digits) for at in range(0, len(values) - size + 1, size)]
