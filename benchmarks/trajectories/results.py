"""From run folders to `results.json`: every finished run with its series, and each trajectory's figures over seeds."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from statistics import fmean
from typing import Any

from common.runner import finished
from common.seeds import over_seeds
from studies import GAIN, METHODS, TRAJECTORIES, Case, all_cases

from entrostat.run.folder import write_json
from entrostat.run.record import Run

SERIES = ("measured", "target", "output")


def collect(runs: Path, path: Path) -> dict[str, Any]:
    """Read every finished run below `runs` and write the results to `path`."""
    cases = [case for case in all_cases() if finished(runs, case)]
    if not cases:
        return {}
    loaded = {case: Run.load(runs / case.name) for case in cases}
    record = {
        "environment": loaded[cases[0]].environment,
        "gain": GAIN,
        "rows": [row for t in TRAJECTORIES for m in METHODS if (row := _row(t, m, loaded))],
        "runs": [_run(case, run) for case, run in loaded.items()],
    }
    write_json(path, record)
    return record


def _row(trajectory: str, method: str, loaded: dict[Case, Run]) -> dict[str, Any]:
    group = [(case, run) for case, run in loaded.items() if (case.trajectory, case.method) == (trajectory, method)]
    if not group:
        return {}
    figures = [
        tracking(*(run.column(f"entropy_control/{name}")[1] for name in ("measured", "target"))) for _, run in group
    ]
    row: dict[str, Any] = {
        "trajectory": trajectory,
        "method": method,
        "seeds": [case.seed for case, _ in group],
    }
    row |= {name: over_seeds([each[name] for each in figures]) for name in figures[0]}
    row["saturated_share"] = over_seeds(
        [fmean(abs(v) for v in run.column("entropy_control/saturated")[1]) for _, run in group]
    )
    row["reward_end"] = over_seeds([run.summary["reward"]["end"] for _, run in group])
    return row


def tracking(measured: list[float], target: list[float]) -> dict[str, float]:
    """How well a run followed its target: rms and mean error, and the lag [nats].

    The lag is the mean, over the steps at which the target moves, of how far the entropy is behind it: above a falling
    target, below a rising one. The noise of the batches averages out of it.
    """
    errors = [m - t for m, t in zip(measured, target, strict=True)]
    slopes = [later - now for now, later in itertools.pairwise(target)]
    behind = [-math.copysign(1, slope) * error for slope, error in zip(slopes, errors[1:], strict=True) if slope]
    return {
        "rms_error": math.sqrt(fmean(e * e for e in errors[1:])),
        "mean_error": fmean(errors[1:]),
        "lag": fmean(behind),
    }


def _run(case: Case, run: Run) -> dict[str, Any]:
    series = {name: [round(v, 4) for v in run.column(f"entropy_control/{name}")[1]] for name in SERIES}
    reward = [round(v, 4) for v in run.column("reward")[1]]
    head = {"trajectory": case.trajectory, "method": case.method, "seed": case.seed}
    return head | {"overrides": case.arguments, **series, "reward": reward}
