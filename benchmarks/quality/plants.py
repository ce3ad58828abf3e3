"""The self-tuning controller over 10,000 steps of simulated plants: `python benchmarks/quality/plants.py`.

The figures go into plants.json and, as a table, into docs/self_tuning_measured.md; `--table` writes the table alone.

Each plant starts at 1 nat, is to be held at 0.75 within 30 steps, and answers with AdamW's lag and noise of 1 %. In shares of
the noise of one batch, over windows of a tenth of the run from step 100 on: the largest mean error of a window but the first,
the rms error in the second and in the last window (growing swings would show); and what gain was believed at the end.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from common.markdown import table, write_between

from entrostat.control import SelfTuning, SelfTuningState
from entrostat.run.environment import environment

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "self_tuning_measured.md"
TARGET, MOMENTUM = 0.75, 0.86
Course = Callable[[float], float]


@dataclass(frozen=True)
class Case:
    """Gain, drift, noise and what the level wanders in a step (standard deviation), as functions of the share of the run that
    is over; steps of delay; updates on one batch; the settling time that is asked for; and of how many prompts a batch's mean is,
    each exponentially distributed about the level, so that its standard error goes with it. 0: `noise` is that of the mean, and
    the controller is told it where `told`."""

    gain: Course = lambda _: 0.015
    drift: Course = lambda _: -0.003
    noise: Course = lambda _: 0.01
    wander: Course = lambda _: 0.0
    delay: int = 1
    updates: int = 1
    settling: float = 30.0
    prompts: int = 0
    told: bool = False


# What a fit to 1,000 steps of the tiny policy finds (hold at 75 %, the first and the last quarter).
LATE = Case(gain=lambda x: 0.015 * 3**x, noise=lambda x: 0.045 * 2.5**x, wander=lambda x: 0.003 * 10**x)
CASES = {
    "quiet": Case(),
    "quiet, no delay": Case(delay=0),
    "gain times 10, slowly": Case(gain=lambda x: 0.005 * 10**x),
    "gain times 10, at once": Case(gain=lambda x: 0.005 if x < 0.5 else 0.05),
    "gain a tenth, slowly": Case(gain=lambda x: 0.05 / 10**x),
    "gain a tenth, at once": Case(gain=lambda x: 0.05 if x < 0.5 else 0.005),
    "drift changes its sign": Case(drift=lambda x: -0.003 if x < 0.5 else 0.003),
    "drift changes its sign, slowly": Case(drift=lambda x: -0.003 * math.cos(math.pi * x)),
    "as a language model's": LATE,
    **{f"the same, {asked:.0f} steps asked": replace(LATE, settling=asked) for asked in (15.0, 60.0, 120.0)},
    "16 prompts, few of them uncertain": Case(prompts=16, noise=lambda _: TARGET / 4),
    "noise times 5": Case(noise=lambda x: 0.01 if x < 0.5 else 0.05),
    **{f"{updates} updates a batch": Case(updates=updates) for updates in (4, 6, 8, 16)},
}

TITLES = {
    "gain a tenth, slowly": "gain falls to a tenth, slowly",
    "gain a tenth, at once": "gain falls to a tenth, at once",
    "as a language model's": "like a language model",
    **{f"the same, {asked} steps asked": f"the same, settling {asked}" for asked in (15, 60, 120)},
}
"""What the page calls a case, where that is not its name in the results."""


def batch(case: Case, level: float, noise: float, draw: random.Random) -> tuple[float, float | None]:
    """A batch's measured mean, and its standard error where that is told."""
    if not case.prompts:
        return max(level + draw.gauss(0.0, noise), 0.0), noise if case.told else None
    entropies = [level * draw.expovariate(1.0) for _ in range(case.prompts)]
    return fmean(entropies), stdev(entropies) / case.prompts**0.5


@dataclass
class Trace:
    """Of each step: the measured entropy and the true one, both as the distance from the target, and the noise of a batch."""

    measured: list[float]
    errors: list[float]
    noises: list[float]
    state: SelfTuningState


def controlled(controller: SelfTuning, case: Case, steps: int, seed: int) -> Trace:
    """One loop: the case's plant under a controller of `TARGET`."""
    generator = random.Random(seed)
    draw = generator.gauss
    state, level, velocity, measured, error = controller.init(), 1.0, 0.0, 0.0, None
    waiting = deque([state.output] * case.delay)
    trace = Trace([], [], [], state)
    for step in range(steps):
        share = step / steps
        if step % case.updates == 0:
            measured, error = batch(case, level, case.noise(share), generator)
        state = controller.step(state, measured, standard_error=error)
        waiting.append(state.output)
        push = case.drift(share) - case.gain(share) * waiting.popleft()
        velocity += (1 - MOMENTUM) / (1 - MOMENTUM ** (step + 1)) * (push - velocity)
        trace.measured.append(measured - TARGET)
        trace.errors.append(level - TARGET)
        trace.noises.append(case.noise(share))
        level = max(level + velocity + draw(0.0, case.wander(share)), 0.0)
    trace.state = state
    return trace


def run(case: Case, steps: int, seed: int) -> dict[str, Any]:
    """One loop, its record."""
    controller = SelfTuning(TARGET, case.settling, action="lower", delay=case.delay)
    trace = controlled(controller, case, steps, seed)
    errors, noises = trace.errors, trace.noises
    size = max(steps // 10, 1)
    starts = range(100, steps - size + 1, size)
    means = [abs(sum(errors[i : i + size])) / size / noises[i] for i in starts]
    swings = [math.sqrt(sum(e * e for e in errors[i : i + size]) / size) / noises[i] for i in starts]
    return {
        "offset_over_noise": round(max(means[1:]), 3),
        "rms_over_noise_second_window": round(swings[1], 3),
        "rms_over_noise_last_window": round(swings[-1], 3),
        "gain_true": case.gain(1 - 1 / steps),
        "gain_believed": round(trace.state.gain, 5),
    }


def least(case: Case) -> float:
    """The rms error in the end, in shares of the noise, that no controller can get below, one that knows the plant included.

    What the level wanders is seen through the noise: the error of the best prediction of a random walk (the steady state of its
    Kalman filter), P = (q^2 + sqrt(q^4 + 4 q^2 r^2)) / 2 with wander q and noise r.
    """
    q, r = case.wander(1.0), case.noise(1.0)
    return math.sqrt((q**2 + math.sqrt(q**4 + 4 * q**2 * r**2)) / 2) / r


def as_table(cases: dict[str, list[dict[str, Any]]]) -> str:
    """The worst of the seeds, case by case."""
    rows = [
        [
            TITLES.get(name, name),
            *(
                f"{max(run[key] for run in runs):.2f}"
                for key in ("offset_over_noise", "rms_over_noise_second_window", "rms_over_noise_last_window")
            ),
            f"{low:.2f}" if (low := least(CASES[name])) else "",
            f"{runs[0]['gain_true']:.3f}",
            " to ".join(f"{of(run['gain_believed'] for run in runs):.3f}" for of in (min, max)),
        ]
        for name, runs in cases.items()
    ]
    return table(["plant", "offset", "rms, early", "rms, late", "bound", "gain", "estimate"], rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=10_000)
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument("--table", action="store_true", help="write the page's table from plants.json, run nothing")
    given = options.parse_args()
    if given.table:
        write_between(PAGE, "plants", as_table(json.loads((HERE / "plants.json").read_text())["cases"]))
        return
    found = {name: [run(case, given.steps, seed) for seed in range(given.seeds)] for name, case in CASES.items()}
    record = {"environment": environment(), "steps": given.steps, "cases": found}
    (HERE / "plants.json").write_text(json.dumps(record, indent=1) + "\n")
    write_between(PAGE, "plants", as_table(found))


if __name__ == "__main__":
    main()
