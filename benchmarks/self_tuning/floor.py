"""How much of the error is noise? `python benchmarks/self_tuning/floor.py` after run.py writes floor.json.

From the log of each run of `hold` its linear plant is identified, with the noise of a measurement and what each step's drift
differs by, and the same controller is run on that plant, over seeds: what it would show if the policy were no more than that.
A run that is further from its target than nearly all of these has an error that noise does not explain. (The wander holds all
that a linear plant does not know, the policy's own changes too.) The same asked to settle sooner and later, and with four times
the completions, which halve both noises: for 64 completions a step that foretells the runs with 256.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from common.rows import earlier, environments, with_earlier
from common.runner import finished
from common.tiny import SETTLING
from studies import Case, all_cases, named

from entrostat.control import SelfTuning
from entrostat.control.response import response
from entrostat.lab import LinearPlant, closed_loop
from entrostat.lab.tune import actuator_of, plant_behind
from entrostat.logs.read import Log, read_log
from entrostat.run.environment import environment
from entrostat.run.folder import write_json

HERE = Path(__file__).parent
RUNS = HERE / "runs"
SEEDS = range(100)
MORE = 4.0  # times the completions of a step
SOONER, LATER = 15.0, 40.0  # steps asked for to settle


def error(measured: list[float], target: float) -> float:
    """Root mean square over the second half, as a share of the target."""
    return response(measured, target).rms_error / target


def simulated(
    plant: LinearPlant, log: Log, target: float, limits: tuple[float, float], settling: float = SETTLING
) -> list[float]:
    """The error of the controller on this plant, seed by seed, for as many steps as the run had."""
    controller = SelfTuning(target, settling, limits, action="raise")
    return [error(closed_loop(plant, controller, len(log.measured), seed=seed).measured, target) for seed in SEEDS]


def row_of(case: Case) -> dict[str, Any]:
    log = read_log(RUNS / case.name)
    actuator = actuator_of(log.config, log.raises)
    plant = plant_behind(log, actuator).plant()
    assert case.share is not None
    target = case.share * log.measured[0]
    quieter = replace(plant, noise=plant.noise / MORE**0.5, wander=plant.wander / MORE**0.5)
    loop = log, target, actuator.limits
    own = simulated(plant, *loop)
    cuts = quantiles(own, n=20)
    return named(case) | {
        "noise": round(plant.noise / target, 4),
        "wander": round(plant.wander / target, 4),
        "error": round(measured := error(list(log.measured), target), 4),
        "simulated": round(fmean(own), 4),
        "simulated_5_to_95": [round(cuts[0], 4), round(cuts[-1], 4)],
        "simulated_at_least_as_far": round(fmean(each >= measured for each in own), 3),
        "settling_sooner": round(fmean(simulated(plant, *loop, SOONER)), 4),
        "settling_later": round(fmean(simulated(plant, *loop, LATER)), 4),
        "with_four_times_the_completions": round(fmean(simulated(quieter, *loop)), 4),
    }


def together(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the seeds of a model, method and target."""
    groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["model"], row["method"], row["share"]].append(row)
    numbers = ("noise", "wander", "error", "simulated")
    numbers += ("settling_sooner", "settling_later", "with_four_times_the_completions")
    return [
        {"model": model, "method": method, "share": share, "seeds": [row["seed"] for row in group]}
        | {name: round(fmean(row[name] for row in group), 4) for name in numbers}
        | {"runs_within_5_to_95": sum(_within(row) for row in group)}
        for (model, method, share), group in groups.items()
    ]


def _within(row: dict[str, Any]) -> bool:
    low, high = row["simulated_5_to_95"]
    return bool(low <= row["error"] <= high)


def main() -> None:
    cases = [case for case in all_cases() if case.label.startswith("hold") and finished(RUNS, case)]
    path = HERE / "floor.json"
    before = earlier(path)
    rows = with_earlier(map(row_of, cases), before.get("runs", []), map(named, all_cases()))
    groups = together(rows)
    for group in groups:
        print(json.dumps(group), flush=True)
    write_json(
        path,
        {
            "environments": environments([environment()] if cases else [], before.get("environments", [])),
            "seeds": len(SEEDS),
            "asked": {"sooner": SOONER, "later": LATER},
            "groups": groups,
            "runs": rows,
        },
    )


if __name__ == "__main__":
    main()
