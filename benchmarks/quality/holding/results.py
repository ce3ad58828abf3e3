"""From run folders to `results.json`: every finished run in numbers and as a series, and each group of seeds together."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from common.rows import earlier, environments, with_earlier
from common.runner import finished
from common.seeds import over_seeds
from common.tiny import GOOD, SETTLING, WINDOW, rms
from studies import Case, all_cases, named

from entrostat.control.response import centered_mean, noise_band, response
from entrostat.run.folder import write_json
from entrostat.run.record import Run

CONTROL = "entropy_control/"


def collect(runs: Path, path: Path) -> dict[str, Any]:
    """Read every finished run below `runs`, and write the results to `path`, where those of runs elsewhere are kept."""
    loaded = [(case, Run.load(runs / case.name)) for case in all_cases() if finished(runs, case)]
    before = earlier(path)
    rows = with_earlier([_run(case, run) for case, run in loaded], before.get("runs", []), map(named, all_cases()))
    if not rows:
        return {}
    groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["model"], row["method"], row["share"]].append(row)
    record = {
        "environments": environments([run.environment for _, run in loaded], before.get("environments", [])),
        "settling_asked": SETTLING,
        "window": WINDOW,
        "groups": [_together(group) for group in groups.values()],
        "runs": rows,
    }
    write_json(path, record)
    return record


def _run(case: Case, run: Run) -> dict[str, Any]:
    measured = run.column(CONTROL + "measured")[1]
    row: dict[str, Any] = named(case) | {
        "commit": run.environment.get("git"),
        "entropy_start": round(fmean(measured[:3]), 5),
        "entropy_end": round(fmean(measured[-10:]), 5),
        "reward_end": round(fmean(run.column("reward")[1][-10:]), 4),
    }
    if case.share is not None:
        target = run.column(CONTROL + "target")[1]
        least = max(GOOD * target[-1], noise_band(measured, WINDOW))
        told = response(measured, target, window=WINDOW, least=least, saturated=run.column(CONTROL + "saturated")[1])
        smooth = centered_mean([value - wanted for value, wanted in zip(measured, target, strict=True)], WINDOW)
        starts_there = case.share == 1
        said = next((row for row in run.steps if row.get(CONTROL + "reachable") == 0), {})
        row |= {
            "target": round(target[-1], 5),
            "rms": round(told.rms_error / target[-1], 4),
            "noise": round(noise_band(measured, widths=1) / target[-1], 4),
            "rms_smoothed": round(rms(smooth[len(smooth) // 2 :]) / target[-1], 4),
            "steady_error": round(told.steady_error / target[-1], 4),
            "overshoot": None if starts_there or told.overshoot is None else round(told.overshoot, 4),
            "overshoot_of_target": None if starts_there else _beyond(told.overshoot, told.change, target[-1]),
            "reached": next((step for step, error in enumerate(smooth) if abs(error) <= told.band), None),
            "settling": told.settling,
            "saturated": None if told.saturated is None else round(told.saturated, 3),
            "first_unreachable": said.get("step"),
            "reach_low": said.get(CONTROL + "reach_low"),
            "reach_high": said.get(CONTROL + "reach_high"),
            "gain": _gain(run, measured[0]),
            "output": [round(u, 3) for u in run.column(CONTROL + "output")[1]],
        }
    evaluation = run.summary["eval"].get("end", {})
    row |= {key: round(value, 4) for key, value in evaluation.items() if key != "step"}
    return row | {"entropy": [round(value, 4) for value in measured]}


def _gain(run: Run, first: float) -> float | None:
    """What a self-tuning controller found in the end: the share of the first entropy that an effort of 1 moves in a step."""
    found = run.column(CONTROL + "gain")[1]
    return round(found[-1] / first, 5) if found else None


def _beyond(overshoot: float | None, change: float, target: float) -> float | None:
    return None if overshoot is None else round(overshoot * abs(change) / target, 4)


def _together(group: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation and each value over seeds of every number."""
    head = {key: group[0][key] for key in ("model", "method", "share")} | {"seeds": [row["seed"] for row in group]}
    numbers = [
        key for key, value in group[0].items() if key not in head and key not in ("seed", "commit", "entropy", "output")
    ]
    return head | {key: over_seeds([row.get(key) for row in group]) for key in numbers}
