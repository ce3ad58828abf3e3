"""What the clip range does to the entropy on exact policies: `python benchmarks/frontier/clip.py` writes clip.json.

Tabular policies: 32 prompts, 64 answers, four optimizer steps on each batch, so that importance ratios leave 1. Each end of the
range is moved while the other stays at 0.2, once with rewards that can be learnt and once with coin flips, as 2509.26114
argues. A wider range also lets the policy learn faster, and learning lowers the entropy: so it is told twice, after a number
of steps and at the step where a reward has been reached.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import torch
from results import interval

import entrostat as es
from entrostat.control.response import centred_mean
from entrostat.lab import random_bandit, train_bandit
from entrostat.run.environment import environment
from entrostat.run.folder import write_json

HERE = Path(__file__).parent
ENDS = {"eps_high": (0.05, 0.1, 0.2, 0.28, 0.5, 1.0), "eps_low": (0.05, 0.1, 0.2, 0.4, 0.8)}
USUAL = 0.2  # the end that stays
LEARNING_RATES = (0.5, 2.0)
STEPS, SEEDS = 150, range(10)
EARNED = 0.7  # reward at which entropies are compared: all but the slowest learners get there
WINDOW = 9  # steps over which a reward is smoothed


def one(rewards: str, learning_rate: float, ends: dict[str, float], seed: int) -> dict[str, float | None]:
    """Entropy and reward over the last ten steps; the entropy at the first step whose smoothed reward is `EARNED`."""
    bandit = random_bandit(64, 32, 1.5, seed, group=16, learning_rate=learning_rate, updates=4)
    if rewards == "random":
        bandit = replace(bandit, success_SV=torch.full_like(bandit.success_SV, 0.5))
    trace = train_bandit(bandit, es.clip_higher(**ends), STEPS, seed=seed)
    smooth = centred_mean(trace.reward, WINDOW)
    there = next((step for step, reward in enumerate(smooth) if reward >= EARNED), None)
    return {
        "entropy": fmean(trace.entropy[-10:]),
        "reward": fmean(trace.reward[-10:]),
        "entropy_earned": None if there is None else trace.entropy[there],
        "steps_earned": there,
    }


def over_seeds(runs: list[dict[str, float | None]], usual: list[dict[str, float | None]]) -> dict[str, Any]:
    """Means with intervals, and how far each seed's entropies are from those at the usual range. None: not every seed has it."""
    found: dict[str, Any] = {}
    for key in runs[0]:
        pairs = [(run[key], other[key]) for run, other in zip(runs, usual, strict=True)]
        values = [value for value, _ in pairs if value is not None]
        found[key] = interval(values) if len(values) == len(runs) else None
        if key.startswith("entropy"):
            moved = [value - other for value, other in pairs if value is not None and other is not None]
            found[f"{key}_moved"] = interval(moved) if len(moved) == len(runs) else None
    return found


def main() -> None:
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for rewards in ("learnt", "random"):
        for learning_rate in LEARNING_RATES:
            both = {"eps_high": USUAL, "eps_low": USUAL}
            usual = [one(rewards, learning_rate, both, seed) for seed in SEEDS]
            for end, sizes in ENDS.items():
                for size in sizes:
                    ends = {**both, end: size}
                    runs = usual if ends == both else [one(rewards, learning_rate, ends, seed) for seed in SEEDS]
                    found = over_seeds(runs, usual)
                    rows.append({"rewards": rewards, "learning_rate": learning_rate, "end": end, "size": size, **found})
                    print(rewards, learning_rate, end, size, {k: v and round(v["mean"], 3) for k, v in found.items()})
    record = {"environment": environment(), "seeds": len(SEEDS), "steps": STEPS, "usual": USUAL, "earned": EARNED}
    write_json(HERE / "clip.json", {**record, "rows": rows})


if __name__ == "__main__":
    main()
