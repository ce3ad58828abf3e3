"""From run folders to `results.json`: every finished run with its series, and each study's figures over seeds."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from common.seeds import over_seeds
from studies import Case, all_cases

from entrostat.run.folder import write_json
from entrostat.run.record import Run

MEASURED, OUTPUT = "entropy_control/measured", "entropy_control/output"


def collect(runs: Path, path: Path) -> dict[str, Any]:
    """Read every finished run below `runs` and write the results to `path`."""
    finished = [
        (case, Run.load(runs / case.name)) for case in all_cases() if (runs / case.name / "summary.json").exists()
    ]
    if not finished:
        return {}
    environment = finished[0][1].environment
    record = {
        "environment": environment,
        "studies": {
            "hold": [_row(group) for group in _groups(finished, "hold")],
            "off_policy": [_row(group) for group in _groups(finished, "off_policy")],
            "interventions": [_intervention(group) for group in _groups(finished, "interventions")],
            "mean_of_D_beside_S": _centring(finished),
        },
        "runs": [_run(case, run) for case, run in finished],
    }
    write_json(path, record)
    return record


def _groups(finished: list[tuple[Case, Run]], study: str) -> list[list[tuple[Case, Run]]]:
    """The runs of a study that differ by their seed alone."""
    groups: dict[Any, list[tuple[Case, Run]]] = defaultdict(list)
    for case, run in finished:
        if case.study == study:
            groups[case.label, case.target].append((case, run))
    return list(groups.values())


def _row(group: list[tuple[Case, Run]]) -> dict[str, Any]:
    case = group[0][0]
    summaries = [run.summary for _, run in group]
    row: dict[str, Any] = {"method": case.label, "target": case.target, "seeds": [c.seed for c, _ in group]}
    row["entropy_start"] = over_seeds([fmean(run.column(MEASURED)[1][:5]) for _, run in group])
    row["entropy_end"] = over_seeds([s["entropy"]["end"] for s in summaries])
    row["entropy_lost"] = over_seeds(
        [
            1 - s["entropy"]["end"] / fmean(run.column(MEASURED)[1][:5])
            for s, (_, run) in zip(summaries, group, strict=True)
        ]
    )
    if case.target is not None:
        errors = [s["entropy"]["second_half"] for s in summaries]
        for key in ("mean_error", "rms_error", "relative_mean_error", "relative_rms_error"):
            row[key] = over_seeds([e[key] for e in errors])
        row["saturated_share"] = over_seeds(
            [fmean(abs(v) for v in _half(run.column("entropy_control/saturated")[1])) for _, run in group]
        )
        row["predicted_drift"] = over_seeds(
            [fmean(_half(run.column("entropy_control/uncontrolled")[1])) for _, run in group]
        )
        row["authority"] = over_seeds([fmean(_half(run.column("entropy_control/authority")[1])) for _, run in group])
    row["reward_end"] = over_seeds([s["reward"]["end"] for s in summaries])
    for when in ("start", "end"):
        for key in sorted({k for s in summaries for k in s["eval"].get(when, {}) if k != "step"}):
            row[f"{key}_{when}"] = over_seeds([s["eval"].get(when, {}).get(key) for s in summaries])
    row["train_seconds"] = [s["train_seconds"] for s in summaries]
    return row


def _half(values: list[float]) -> list[float]:
    return values[len(values) // 2 :]


def _intervention(group: list[tuple[Case, Run]]) -> dict[str, Any]:
    """Which way the entropy went, and which way the theorem sends it."""
    case = group[0][0]
    changes = []
    for _, run in group:
        entropy = run.column(MEASURED)[1]
        changes.append(fmean(entropy[-5:]) - fmean(entropy[:2]))
    lowers = ("positive" in case.label) == (">" in case.label)
    return {
        "kept": case.label,
        "predicted": "falls" if lowers else "rises",
        "change": over_seeds(changes),
        "as_predicted": all((change < 0) == lowers for change in changes),
    }


def _centring(finished: list[tuple[Case, Run]]) -> dict[str, Any]:
    """The batch mean of D beside that of S, over the steps of the plain runs: |mean D| should be far below |mean S|."""
    ratios = {}
    for case, run in finished:
        if (case.study, case.label) == ("hold", "plain GRPO"):
            s, d = (run.column(f"token_entropy/{k}")[1] for k in ("S", "D"))
            deviation = math.sqrt(fmean(v * v for v in d))
            ratios[case.seed] = {
                "mean_S": round(fmean(s), 6),
                "mean_D": round(fmean(d), 6),
                "rms_of_batch_mean_D": round(deviation, 6),
                "S_over_rms_D": round(fmean(s) / deviation, 2),
                "S_over_mean_D": round(abs(fmean(s) / fmean(d)), 2),
            }
    return ratios


def _run(case: Case, run: Run) -> dict[str, Any]:
    return {
        "name": case.name,
        "overrides": list(case.arguments),
        "entropy": [round(v, 4) for v in run.column(MEASURED)[1]],
        "output": [round(v, 4) for v in run.column(OUTPUT)[1]],
        "reward": [round(v, 4) for v in run.column("reward")[1]],
    }
