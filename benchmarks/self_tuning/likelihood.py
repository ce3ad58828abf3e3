"""What the estimator should be told: `python benchmarks/self_tuning/likelihood.py`, after run.py, writes likelihood.json.

The controller's estimator goes once more over the measured entropies of finished runs, with what acted in them given in three
ways: the output itself; the first-order change that the batch's weights made; and that change divided by the batch's
root mean square of A D. What makes the measurements likelier describes the plant better. The number is the mean log-likelihood of
a step [nats], each measurement under the prediction from those before it, from the sixth step on. The momentum that the entropy
feels, the walks of the gain and of the drift are varied in the same way.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from common.runner import finished
from common.tiny import SETTLING
from studies import OUT_OF_REACH, all_cases

from entrostat.control import SelfTuning, estimator, self_tuning
from entrostat.control.self_tuning import SelfTuningState
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.run.record import Run

HERE = Path(__file__).parent
RUNS = HERE / "runs"
FIRST = 6
INPUTS = ("output", "change", "change over rms")


def likelihood(run: Run, given: str, momentum: float, drift_walk: float, gain_walk: float) -> float:
    """Mean log-likelihood of a step."""
    estimator.GAIN_WALK, self_tuning._DRIFT_WALK = gain_walk, drift_walk
    state, terms, unit = SelfTuningState(), [], 0.0
    controller = SelfTuning(1.0, SETTLING, momentum=momentum)
    acting = 0.0  # the output that acts on a batch was commanded after the one before
    for step, row in enumerate(run.steps, start=1):
        value = {name: row[f"entropy_control/{name}"] for name in ("measured", "output", "predicted", "flow_rms")}
        if step == 1:
            state = estimator.first_estimate(state, value["measured"])
        else:
            variance = state.level_level + state.noise
            if step >= FIRST:
                terms.append(
                    -0.5 * ((value["measured"] - state.level) ** 2 / variance + math.log(2 * math.pi * variance))
                )
            state = estimator.corrected(state, value["measured"], step - 1)
        if given != "output":
            size = value["flow_rms"] if given == "change over rms" else 1.0
            if not unit and (width := row["entropy_control/authority"] / size):
                unit = width / (controller.limits[1] - controller.limits[0])
                state = estimator.drift_explained(state)
            acting = -value["predicted"] / size / unit if unit else 0.0
        state = controller._predicted(state, acting, step)
        if given == "output":
            acting = value["output"]
    return fmean(terms)


def main() -> None:
    cases = [case for case in all_cases(("tiny",)) if case.label == "flow self-tuned" and case.share != OUT_OF_REACH]
    runs = [(case, Run.load(RUNS / case.name)) for case in cases if finished(RUNS, case)]
    walks = {"drift_walk": self_tuning._DRIFT_WALK, "gain_walk": estimator.GAIN_WALK}
    chosen: dict[str, Any] = {"given": INPUTS[-1], "momentum": 0.86, **walks}
    variants: dict[str, dict[str, Any]] = {"chosen": {}}
    variants |= {f"given {each}": {"given": each} for each in INPUTS[:-1]}
    variants |= {f"momentum {each}": {"momentum": each} for each in (0.0, 0.5, 0.7, 0.8, 0.83, 0.9, 0.95)}
    variants |= {f"walk of the drift {each}": {"drift_walk": each} for each in (0.0, 0.005, 0.01, 0.04)}
    variants |= {f"walk of the gain {each}": {"gain_walk": each} for each in (0.01, 0.02, 0.1)}
    rows = {}
    for name, change in variants.items():
        by_share: dict[str, list[float]] = {}
        for case, run in runs:
            by_share.setdefault(str(case.share), []).append(likelihood(run, **(chosen | change)))
        rows[name] = {"all": fmean(value for each in by_share.values() for value in each)}
        rows[name] |= {share: fmean(values) for share, values in by_share.items()}
        print(f"{name:25}", {share: round(value, 3) for share, value in rows[name].items()}, flush=True)
    record = {"environment": environment(), "runs": len(runs), "nats_per_step": rows}
    write_json(HERE / "likelihood.json", record)


if __name__ == "__main__":
    main()
