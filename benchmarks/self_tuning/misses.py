"""Any model, any settings: `python benchmarks/self_tuning/misses.py` writes misses.json.

`hold` on exact tabular policies whose size, start, group, learning rate, momentum, updates a batch, temperature and delay are
drawn at random, as are the target and the settling time. As shipped, and without what the controller takes off for the mean
miss of its outputs, which are found on one batch and act on the next. Errors are shares of the target, of the true entropy over
the second half of a run. Runs whose output is at a limit for half of that time are counted apart: their target is out of reach.
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from statistics import fmean, median
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import torch
from common.tiny import rms

import entrostat as es
from entrostat.control import self_tuning
from entrostat.lab import random_bandit, train_bandit
from entrostat.run.environment import environment
from entrostat.run.folder import write_json

HERE = Path(__file__).parent
CONDITIONS, STEPS = 120, 300
VARIANTS = {"as shipped": self_tuning._MISSES, "misses left alone": math.inf}


def drawn(seed: int) -> tuple[dict[str, Any], float, int]:
    """A policy and how it is trained, the target as a share of its entropy, the settling time."""
    choose = random.Random(seed)
    arms = choose.choice([4, 16, 64, 512])
    policy = {
        "arms": arms,
        "states": choose.choice([4, 16, 48]),
        "start": choose.choice([0.1, 0.3, 0.6, 0.8]) * math.log(arms),
        "group": choose.choice([4, 8, 32]),
        "learning_rate": 10 ** choose.uniform(-1.5, 0.3),
        "momentum": choose.choice([0.0, 0.5, 0.86, 0.95]),
        "updates": choose.choice([1, 1, 2, 4]),
        "delay": choose.choice([0, 1]),
        "temperature": choose.choice([1.0, 1.0, 0.7, 1.4]),
    }
    return policy, choose.choice([0.5, 0.75, 1.0, 1.15]), choose.choice([10, 25, 60])


def one(policy: dict[str, Any], share: float, settling: int, seed: int) -> dict[str, float]:
    target = share * policy["start"]
    method = es.hold(target=target, settling=settling)
    trace = train_bandit(random_bandit(seed=seed, **policy), method, STEPS, seed=seed)
    errors = [entropy / target - 1 for entropy in trace.entropy[STEPS // 2 :]]
    at_a_limit = fmean(map(abs, trace.saturated[STEPS // 2 :]))
    return {"rms": round(rms(errors), 5), "offset": round(fmean(errors), 5), "at_a_limit": round(at_a_limit, 3)}


def together(runs: list[dict[str, float]]) -> dict[str, Any]:
    within = [run for run in runs if run["at_a_limit"] < 0.5]
    return {
        "within_reach": len(within),
        "rms_mean": round(fmean(run["rms"] for run in within), 4),
        "rms_median": round(median(run["rms"] for run in within), 4),
        "rms_above_5_percent": sum(run["rms"] > 0.05 for run in within),
        "offset_mean": round(fmean(abs(run["offset"]) for run in within), 4),
    }


def main() -> None:
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for seed in range(CONDITIONS):
        policy, share, settling = drawn(seed)
        row: dict[str, Any] = {**policy, "share": share, "settling": settling}
        for name, over in VARIANTS.items():
            self_tuning._MISSES = over
            row[name] = one(policy, share, settling, seed)
        rows.append(row)
    summary = {name: together([row[name] for row in rows]) for name in VARIANTS}
    print(summary)
    write_json(HERE / "misses.json", {"environment": environment(), "summary": summary, "rows": rows})


if __name__ == "__main__":
    main()
