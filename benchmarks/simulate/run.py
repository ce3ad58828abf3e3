"""How fast the simulators are: `python benchmarks/simulate/run.py`. The bound: 10,000 steps of a 64-arm policy under 5 s.

One thread. Each case is run several times in turn with the others, so that all see the same machine; the median counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from entrostat.control import PI, SelfTuning
from entrostat.lab import LinearPlant, closed_loop, random_bandit, train_bandit
from entrostat.methods import make
from entrostat.run.environment import environment

HERE = Path(__file__).parent
BOUND = 5.0  # seconds for 10,000 closed-loop steps of a policy with 64 arms
PLANT = LinearPlant(0.0055, drift=-0.0015, momentum=0.9, noise=0.006, wander=0.001)


def bandit(method: str, options: dict, **training: object) -> Callable[[int], None]:
    """Train 64 arms under a method."""
    built = random_bandit(64, **training)
    return lambda steps: train_bandit(built, make(method, **options), steps) and None


def plant(controller: object) -> Callable[[int], None]:
    """A controller on the linear plant."""
    return lambda steps: closed_loop(PLANT, controller, steps) and None


FLOW = {"target": 2.0, "kp": 5, "ki": 0.1}
CASES = {
    "64 arms, flow": bandit("flow", FLOW),
    "64 arms, flow, four updates on each batch": bandit("flow", FLOW, updates=4),
    "64 arms, flow, output on the same batch": bandit("flow", FLOW, delay=0),
    "64 arms, 48 states x 8 actions, flow": bandit("flow", FLOW, states=48, group=8),
    "64 arms, entropic": bandit("entropic", {"target": 2.0, "normaliser": "all", "select": "discriminator"}),
    "64 arms, entropy bonus by PI (autograd)": bandit("entropy_bonus", {"coef": PI(2.0, 1, 0.05)}),
    "64 arms, plain": bandit("observe", {}),
    "linear plant, PI": plant(PI(0.22, 17, 0.3, (-2, 2))),
    "linear plant, self-tuning": plant(SelfTuning(0.22, 40)),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for run in CASES.values():
        run(50)  # warm
    for _ in range(options.repeats):
        for name, run in CASES.items():
            began = time.perf_counter()
            run(options.steps)
            seconds[name].append(time.perf_counter() - began)
    rows = {
        name: {
            "median_seconds": round(median(values), 3),
            "slowest_seconds": round(max(values), 3),
            "steps_per_second": round(options.steps / median(values)),
        }
        for name, values in seconds.items()
    }
    first = next(iter(rows.values()))
    record = {
        "environment": environment(),
        "steps": options.steps,
        "repeats": options.repeats,
        "bound_seconds": BOUND,
        "bound_held": first["slowest_seconds"] < BOUND * options.steps / 10_000,
        "rows": rows,
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["rows"], indent=1), f"bound held: {record['bound_held']}")


if __name__ == "__main__":
    main()
