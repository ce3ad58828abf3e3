"""Does the simulator foresee how fast the tiny policy settles? `python benchmarks/simulate/settling.py` writes settling.json.

Self-tuned flow, or `hold`, brings a policy to a share of its initial entropy: the tiny policy in `benchmarks/self_tuning`, a
policy of 64 arms and the linear plant of `entrostat simulate` here (flow alone: the plant's gain is of weights), all with the
same controller, settling time asked for, and judge: the error, smoothed over 9 steps, stays within 5 % of the first error, or
within 3 % of the target. What the simulations are told of the tiny policy: how noisy the entropy of a batch is
(`benchmarks/self_tuning/noise.json`); the arms, its entropy at the start and a learning rate at which the limits of the
method's output move theirs about as fast (`at_the_limits`, both measured here).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import torch
from common.seeds import middle
from common.tiny import GOOD, WINDOW

from entrostat.control import Initial
from entrostat.control.response import response
from entrostat.lab import LinearPlant, Trace, closed_loop, random_bandit, train_bandit
from entrostat.lab.simulate import TINY
from entrostat.methods import Chain, make
from entrostat.run.environment import environment
from entrostat.run.folder import write_json

HERE = Path(__file__).parent
RUNS = HERE.parent / "self_tuning" / "results.json"
NOISE = HERE.parent / "self_tuning" / "noise.json"
SEEDS = range(20)


@dataclass(frozen=True)
class Replayed:
    """The outputs of a run as a schedule, the last one for good."""

    outputs: tuple[float, ...]

    def at(self, step: int) -> float:
        return self.outputs[min(step, len(self.outputs) - 1)]


@cache
def noise() -> float:
    """Standard deviation of the measured entropy of one batch of the tiny policy, at the start [nats]."""
    measured = json.loads(NOISE.read_text())["tiny"]["start"]
    return float(measured["relative_deviation_of_a_batch"]["384 x 2"] * measured["entropy"])


def tabular(method: Chain, rate: float, steps: int, seed: int) -> Trace:
    """64 arms in 48 states, four draws of each a step."""
    training = {"start": TINY["start"], "momentum": 0.9, "learning_rate": rate, "noise": noise()}
    return train_bandit(random_bandit(64, states=48, group=4, seed=seed, **training), method, steps, seed=seed)


def linear(method: Chain, steps: int, seed: int) -> Trace:
    """The plant that `entrostat simulate` takes where no other is named."""
    return closed_loop(LinearPlant(**{**TINY, "noise": noise()}), method.links[0].knobs["u"], steps, seed=seed)


Simulator = Callable[[Chain, int, int], Trace]


@dataclass(frozen=True)
class Judged:
    """A method of `benchmarks/self_tuning`, by its preset, and what simulates it.

    `rate` is the arms' learning rate; `full` says in which runs the output is at a limit: their target, that limit, and the
    steps over which it is. `on_plant`: it is simulated on the linear plant too.
    """

    preset: str
    rate: float
    full: dict[str, tuple[float, float, range]]
    on_plant: bool

    @property
    def simulators(self) -> dict[str, Simulator]:
        found: dict[str, Simulator] = {"64 arms": lambda method, steps, seed: tabular(method, self.rate, steps, seed)}
        return found | ({"linear plant": linear} if self.on_plant else {})


METHODS = {
    "flow self-tuned": Judged(
        "flow", 0.12, {"lower": (0.5, 2.0, range(7, 17)), "raise": (3.0, -2.0, range(10, 25))}, True
    ),
    # The bonus leaves its limits sooner, and what it did goes on for some steps after that.
    "hold self-tuned": Judged(
        "hold", 0.4, {"lower": (0.5, -1.0, range(5, 11)), "raise": (1.25, 1.0, range(5, 9))}, False
    ),
}
SHARES = (0.5, 0.75, 1.25)  # a run that starts at its target has nothing to settle from, and one out of reach does not


def settling(trace: Trace) -> int | None:
    return response(trace.measured, trace.target, window=WINDOW, least=GOOD * trace.target[-1]).settling


def at_the_limits(method: Judged, runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Relative change of the entropy in one step at either limit, of the policy's runs and of the arms; means over seeds.

    The arms are given the output of the first run, step by step.
    """
    found: dict[str, dict[str, float]] = {}
    for name, (share, limit, steps) in method.full.items():
        mine = [run for run in runs if run["share"] == share]
        assert all(limit in run["output"][: steps.stop] for run in mine), "a run that was never at the limit"
        replayed = make(method.preset, target=None, controller=Replayed(tuple(mine[0]["output"])))
        arms = [tabular(replayed, method.rate, steps.stop, seed).measured for seed in SEEDS]
        found[name] = {
            who: round(fmean((each[steps[-1]] / each[steps[0]]) ** (1 / (len(steps) - 1)) - 1 for each in series), 4)
            for who, series in {"tiny policy": [run["entropy"] for run in mine], "64 arms": arms}.items()
        }
    return found


def compared(method: Judged, target: Initial, asked: int, steps: int, measured: list[int | None]) -> dict[str, Any]:
    """The settling times of the tiny policy's runs, beside those of each simulator over its seeds."""
    row: dict[str, Any] = {"tiny policy": {"median": middle(measured), "each": measured}}
    for name, simulator in method.simulators.items():
        under = make(method.preset, target=target, settling=asked)
        each = [settling(simulator(under, steps, seed)) for seed in SEEDS]
        found, real = middle(each), middle(measured)
        ratio = None if found is None or real is None else round(real / found, 2)
        row[name] = {"median": found, "each": each, "measured_to_simulated": ratio}
    return row


def main() -> None:
    torch.set_num_threads(1)
    record = json.loads(RUNS.read_text())
    runs = [run for run in record["runs"] if run["model"] == "tiny"]
    limits = {
        name: at_the_limits(each, [run for run in runs if run["method"] == name]) for name, each in METHODS.items()
    }
    print(limits, flush=True)
    asked = record["settling_asked"]
    found: dict[str, dict[str, Any]] = {name: {} for name in METHODS}
    for group in record["groups"]:
        name, share = group["method"], group["share"]
        if group["model"] != "tiny" or name not in METHODS or share not in SHARES:
            continue
        steps = max(len(run["entropy"]) for run in record["runs"] if run["share"] == share)
        row = compared(METHODS[name], Initial(share), asked, steps, group["settling"]["each"])
        found[name][str(share)] = row
        print(name, share, {who: value["median"] for who, value in row.items()}, flush=True)
    write_json(
        HERE / "settling.json",
        {
            "environment": environment(),
            "settling_asked": asked,
            "at_the_limits": limits,
            "methods": found,
        },
    )


if __name__ == "__main__":
    main()
