"""Does `hold` hold where most batches teach nothing? `python benchmarks/self_tuning/sparse.py` writes sparse.json.

Exact tabular policies: 32 prompts, 16 answers, of which few are right, 16 prompts x 2 draws a step. Where every reward of a
batch agrees, its advantages are 0 and so is their size, in which the controller counts what an output does; the bonus acts all
the same. Errors are shares of the target, of the true entropy over the second half of 200 steps.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import torch
from common.seeds import over_seeds
from common.tiny import rms

import entrostat as es
from entrostat.lab import random_bandit, train_bandit
from entrostat.run.environment import environment
from entrostat.run.folder import write_json

HERE = Path(__file__).parent
START, SETTLING, STEPS, SEEDS = 1.5, 25, 200, range(10)
RIGHT, SHARES = (0.3, 0.03, 0.01, 0.003), (0.75, 1.0, 1.25)  # of the answers, and of the initial entropy


def one(right: float, share: float, seed: int) -> tuple[float, float]:
    """Relative rms error, and the share of steps whose rewards all agree."""
    bandit = random_bandit(16, 32, START, seed, group=2, learning_rate=0.3, momentum=0.86, prompts=16)
    drawn = torch.rand(bandit.success_SV.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    bandit = replace(bandit, success_SV=(drawn < right).double())
    trace = train_bandit(bandit, es.hold(target=share * START, settling=SETTLING), STEPS, seed=seed)
    errors = [entropy / (share * START) - 1 for entropy in trace.entropy[STEPS // 2 :]]
    return rms(errors), sum(reward in (0, 1) for reward in trace.reward) / STEPS


def main() -> None:
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for right in RIGHT:
        for share in SHARES:
            errors, agree = zip(*(one(right, share, seed) for seed in SEEDS), strict=True)
            rows.append(
                {"right": right, "share": share, "rms": over_seeds(errors), "no_reward_differs": over_seeds(agree)}
            )
            print(
                {key: value["mean"] if isinstance(value, dict) else value for key, value in rows[-1].items()},
                flush=True,
            )
    write_json(HERE / "sparse.json", {"environment": environment(), "rows": rows})


if __name__ == "__main__":
    main()
