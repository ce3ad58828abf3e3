"""Pass@k training: a completion is worth what it adds to the chance that one of k solves the problem.

A+ = (1 - rho) / sigma,  A- = (1 - rho - C(n-c-1, k-1) / C(n-1, k-1)) / sigma,  rho = 1 - C(n-c, k) / C(n, k),
sigma = sqrt(rho (1 - rho)), c of the n completions of the group correct
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import ClassVar

import torch

from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState
from entrostat.methods.groups import by_group, check_binary
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Rollouts


@dataclass(frozen=True)
class PassAtK(Link):
    """Analytic advantages of the pass@k objective, from rewards of 0 and 1.

    Args:
        k: tries that count as one.
    """

    k: int = 4

    card: ClassVar[Card] = Card(
        "pass_at_k",
        effect="raises",
        writes=("advantages",),
        own_advantages="other",
        notes=("on easy prompts wrong samples count next to nothing", "verl's grpo_passk is another estimator"),
        bounds={"k": "[1, inf)"},
        source=Source("2508.10751", "Eqs. 14 and 15; RUCAIBox/Passk_Training calc_adv", "k 4"),
    )

    def check_completions(self, count: int) -> None:
        if self.k > count:
            raise ConfigError(
                f"pass_at_k has k={self.k}, and a prompt has {count} scored completions: k must be at most that"
            )

    @torch.no_grad()
    def score(self, rollouts: Rollouts, state: MethodState) -> Rollouts:
        rewards = rollouts.rewards_B
        check_binary(rewards, self.name)

        def of(rows: torch.Tensor) -> torch.Tensor:
            n, correct = len(rows), int(rewards[rows].sum())
            self.check_completions(n)
            rho = 1 - comb(n - correct, self.k) / comb(n, self.k)
            sigma = (rho * (1 - rho)) ** 0.5 + 1e-6
            among_wrong = comb(n - correct - 1, self.k - 1) / comb(n - 1, self.k - 1) if correct < n else 0.0
            return torch.where(rewards[rows] > 0, (1 - rho) / sigma, (1 - rho - among_wrong) / sigma)

        return by_group(rollouts, of)


pass_at_k = register(PassAtK)
