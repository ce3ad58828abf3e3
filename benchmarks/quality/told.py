"""How near a wandering policy can be held: `python benchmarks/quality/told.py`.

Two plants like the tiny policy late in a run, with gain, noise and wander from likelihood fits to its runs
(`long/gain_likelihood.json`), are held at three quarters of the start by the self-tuning controller and by the same control
law with an estimator that is told gain, drift and wander, so that its level is the best prediction there is. What the second
leaves is the policy's own wander, seen through the batch's noise; what the first leaves beyond it is the price of finding out.

Of steps 300 to 1,500, means over seeds: the error over nine steps in units of what the noise leaves in such a mean (`smoothed`
of the long runs), and the rms distance of the entropy itself from the target in units of one batch's noise. Figures go into
told.json and, as a table, into docs/self_tuning_measured.md; `--table` writes the table alone.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1]))

from common.markdown import table, write_between
from plants import PAGE, TARGET, Case, controlled

from entrostat.control import SelfTuning, SelfTuningState
from entrostat.control.estimator import corrected, wandered
from entrostat.run.environment import environment

HERE = Path(__file__).parent
DRIFT = -0.003
STEPS, FIRST, WINDOW = 1500, 300, 9


@dataclass(frozen=True)
class Plant:
    """Of a policy whose entropy starts at 1: gain, noise of a batch, and what the level wanders in a step."""

    gain: float
    noise: float
    wander: float

    @property
    def case(self) -> Case:
        """The plant that stays as it is, whose noise the controller is told."""
        return Case(lambda _: self.gain, lambda _: DRIFT, lambda _: self.noise, lambda _: self.wander, told=True)


PLANTS = {"noise 11 %, wander 1.2 %": Plant(0.117, 0.109, 0.0117), "noise 8 %, wander 1 %": Plant(0.03, 0.08, 0.01)}


@dataclass(frozen=True)
class Told(SelfTuning):
    """The same law; nothing but the level is left to find out."""

    plant: Plant = Plant(0.0, 0.0, 0.0)

    def _corrected(
        self, state: SelfTuningState, measured: float, standard_error: float | None, fresh: bool | None
    ) -> SelfTuningState:
        if state.steps:
            memory = self.plant.noise / self.plant.wander  # by which `wandered` adds just the plant's wander
            found = wandered(corrected(state, measured, standard_error, state.steps, (memory, memory)))
        else:
            found = super()._corrected(state, measured, standard_error, fresh)
        found = replace(found, drift=DRIFT, gain=self.plant.gain, drift_drift=1e-18, gain_gain=1e-18)
        return replace(found, level_drift=0.0, level_gain=0.0, drift_gain=0.0)


def held(controller: SelfTuning, plant: Plant, seed: int) -> dict[str, float]:
    """One run."""
    trace = controlled(controller, plant.case, STEPS, seed)
    late = trace.measured[FIRST:]
    means = [fmean(late[i : i + WINDOW]) for i in range(len(late) - WINDOW + 1)]
    return {
        "smoothed": pstdev(means) * math.sqrt(WINDOW) / plant.noise,
        "level": math.sqrt(fmean(each**2 for each in trace.errors[FIRST:])) / plant.noise,
        "gain": trace.state.gain,
    }


def mean_of(controller: SelfTuning, plant: Plant, seeds: int) -> dict[str, float]:
    runs = [held(controller, plant, seed) for seed in range(seeds)]
    return {key: round(fmean(run[key] for run in runs), 4) for key in runs[0]}


def compared(plant: Plant, settling: float, seeds: int) -> dict[str, Any]:
    """The self-tuning controller, and one that is told."""
    told = Told(TARGET, settling, action="lower", plant=plant)
    return {
        "self-tuned": mean_of(SelfTuning(TARGET, settling, action="lower"), plant, seeds),
        "told": mean_of(told, plant, seeds),
    }


def as_table(rows: list[dict[str, Any]]) -> str:
    header = ["plant", "settling", "smoothed", "if known", "level", "if known"]
    cells = [
        [row["plant"], f"{row['settling']:.0f}"]
        + [f"{row[who][key]:.2f}" for key in ("smoothed", "level") for who in ("self-tuned", "told")]
        for row in rows
    ]
    return table(header, cells)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=12)
    options.add_argument("--table", action="store_true", help="write the page's table from told.json, run nothing")
    given = options.parse_args()
    if not given.table:
        rows = [
            {"plant": name, "settling": settling, **compared(plant, settling, given.seeds)}
            for name, plant in PLANTS.items()
            for settling in (10.0, 15.0, 30.0)
        ]
        record = {"environment": environment(), "seeds": given.seeds, "rows": rows}
        (HERE / "told.json").write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "told", as_table(json.loads((HERE / "told.json").read_text())["rows"]))


if __name__ == "__main__":
    main()
