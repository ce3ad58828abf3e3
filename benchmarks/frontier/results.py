"""From run folders to `results.json`: what every run held and earned, and the curve of each actuator over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from common.runner import finished
from scipy.stats import bootstrap
from studies import ACTUATORS, INITIAL, PLAIN, TARGETS, all_cases

from entrostat.run.folder import write_json
from entrostat.run.record import Run

MEASURED, SATURATED = "entropy_control/measured", "entropy_control/saturated"
SCORES = ("avg@8", "pass@8", "reward")
BASE = "flow"
CONFIDENCE = 0.95
MARGIN = 0.08  # of the initial entropy; how far beyond flow's outermost runs their line is drawn


def collect(runs: Path, path: Path) -> dict[str, Any]:
    """Read every finished run below `runs` and write the results to `path`."""
    done = [(case, Run.load(runs / case.name)) for case in all_cases() if finished(runs, case)]
    if not done:
        return {}
    rows = [row_of(case.actuator, case.target, case.seed, run) for case, run in done]
    record = {
        "environment": done[0][1].environment,
        "confidence": CONFIDENCE,
        "plain": {
            "seeds": [row["seed"] for row in rows if row["actuator"] == PLAIN],
            "end": point([row for row in rows if row["actuator"] == PLAIN]),
            "trajectory": _trajectory([run for case, run in done if case.actuator == PLAIN]),
        },
        "curves": {name: curve(name, rows, TARGETS) for name in ACTUATORS},
        "at_equal_entropy": {
            name: against_base(name, rows, TARGETS, MARGIN * INITIAL) for name in ACTUATORS if name != BASE
        },
        "runs": rows,
    }
    write_json(path, record)
    return record


def _last_third(values: list[float]) -> list[float]:
    return values[-max(1, len(values) // 3) :]


def row_of(actuator: str, target: float | None, seed: int, run: Run) -> dict[str, Any]:
    """One run: its entropy and reward over the last third of the steps, and its evaluation after the last."""
    end = run.summary["eval"]["end"]
    saturated, measured = run.column(SATURATED)[1], run.column(MEASURED)[1]
    return {
        "actuator": actuator,
        "target": target,
        "seed": seed,
        "entropy": fmean(_last_third(measured)),
        "reward": fmean(_last_third(run.column("reward")[1])),
        "avg@8": end["avg@8"],
        "pass@8": end["pass@8"],
        "saturated": fmean(abs(v) for v in _last_third(saturated)) if saturated else None,
        "rms": target and run.summary["entropy"]["second_half"]["relative_rms_error"],
        "series": {
            "entropy": [round(v, 4) for v in measured],
            "output": [round(v, 4) for v in run.column("entropy_control/output")[1]],
            "reward": [round(v, 4) for v in run.column("reward")[1]],
        },
    }


def interval(values: list[float]) -> dict[str, Any]:
    """Mean over seeds with its bootstrap interval (percentiles of 9,999 resamples); no interval below three seeds."""
    found: dict[str, Any] = {"mean": fmean(values), "seeds": len(values)}
    if len(values) > 2:
        drawn = bootstrap((values,), np.mean, confidence_level=CONFIDENCE, method="percentile", rng=0)
        found |= {
            "low": float(drawn.confidence_interval.low),
            "high": float(drawn.confidence_interval.high),
        }
    return found


def point(rows: list[dict[str, Any]]) -> dict[str, Any]:
    if not rows:
        return {}
    return {key: interval([row[key] for row in rows]) for key in ("entropy", *SCORES)}


def curve(actuator: str, rows: list[dict[str, Any]], targets: Sequence[float]) -> list[dict[str, Any]]:
    """One point per target: held entropy, scores, and the share of steps at a limit of the output."""
    points = []
    for target in targets:
        own = [row for row in rows if row["actuator"] == actuator and row["target"] == target]
        if own:
            shares = [row["saturated"] for row in own if row["saturated"] is not None]
            held = interval([row["rms"] for row in own])
            points.append({"target": target, "saturated": fmean(shares) if shares else None, "rms": held, **point(own)})
    return points


def _trajectory(plain: list[Run]) -> list[dict[str, Any]]:
    """Plain GRPO on its way down: scores at each evaluation, against the entropy of the steps around it."""
    points: dict[int, list[dict[str, float]]] = {}
    for run in plain:
        entropy = dict(zip(*run.column(MEASURED), strict=True))
        for row in run.metrics:
            if "eval/avg@8" in row:
                near = [value for step, value in entropy.items() if abs(step - row["step"]) <= 3]
                points.setdefault(row["step"], []).append(
                    {"entropy": fmean(near), "avg@8": row["eval/avg@8"], "pass@8": row["eval/pass@8"]}
                )
    keys = ("entropy", "avg@8", "pass@8")
    return [{"step": step, **{key: fmean(p[key] for p in points[step]) for key in keys}} for step in sorted(points)]


def against_base(actuator: str, rows: list[dict[str, Any]], targets: Sequence[float], margin: float) -> dict[str, Any]:
    """Score minus that of flow at the same entropy, run by run, then over seeds.

    Flow's score at the entropy that a run really held is read off the line through flow's own runs of the same seed, so
    that an actuator does not gain by missing its target. Runs that flow's entropies do not reach are left out. "all" is the
    mean over the targets, for the seeds that have every one of them.
    """
    found: dict[str, dict[int, dict[str, float]]] = {}
    for row in rows:
        if row["actuator"] != actuator:
            continue
        base = sorted(
            (r for r in rows if r["actuator"] == BASE and r["seed"] == row["seed"]), key=lambda r: float(r["entropy"])
        )
        if len(base) > 1 and base[0]["entropy"] - margin <= row["entropy"] <= base[-1]["entropy"] + margin:
            found.setdefault(str(row["target"]), {})[row["seed"]] = {
                key: row[key] - _at(row, base, key) for key in SCORES
            }
    if len(found) == len(targets):
        whole = set.intersection(*(set(by_seed) for by_seed in found.values()))
        each = list(found.values())
        found["all"] = {seed: {key: fmean(t[seed][key] for t in each) for key in SCORES} for seed in sorted(whole)}
    return {t: {key: interval([d[key] for d in ds.values()]) for key in SCORES} for t, ds in found.items() if ds}


def _at(row: dict[str, Any], base: list[dict[str, Any]], key: str) -> float:
    """The base's score at this run's entropy: on the line through its two runs around it, or the two nearest."""
    right = next((i for i, r in enumerate(base) if r["entropy"] >= row["entropy"]), len(base) - 1)
    low, high = base[max(right, 1) - 1], base[max(right, 1)]
    slope = (high[key] - low[key]) / (high["entropy"] - low["entropy"])
    return float(low[key] + slope * (row["entropy"] - low["entropy"]))
