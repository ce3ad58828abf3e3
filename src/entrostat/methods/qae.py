"""QAE: a quantile of the group's rewards is the baseline, in place of their mean.

A = (R - quantile(R, K)) / (std(R) + eps)  within each group
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from entrostat.methods.base import Link, MethodState
from entrostat.methods.groups import by_group
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Rollouts


@dataclass(frozen=True)
class QuantileAdvantage(Link):
    """A = (R - quantile(R, K)) / (std(R) + eps) within each group.

    Args:
        quantile: K. With rewards of 0 and 1, groups with accuracy of at most 1 - K train on successes alone, the others on
            failures alone; 0.4, or 0.6 where the entropy collapses.
        interpolation: "higher" is the paper's empirical quantile, which is a reward of the group; "linear" is that of the
            release.
    """

    quantile: float = 0.4
    interpolation: Literal["higher", "lower", "linear"] = "linear"

    card: ClassVar[Card] = Card(
        "qae",
        effect="either",
        writes=("advantages",),
        own_advantages="group",
        bounds={"quantile": "(0, 1)"},
        source=Source("2509.22611", "Eq. 4; junkangwu/QAE", "K 0.4, torch.quantile's linear interpolation, eps 1e-6"),
    )

    @torch.no_grad()
    def score(self, rollouts: Rollouts, state: MethodState) -> Rollouts:
        def of(rows: torch.Tensor) -> torch.Tensor:
            rewards = rollouts.rewards_B[rows].float()
            baseline = torch.quantile(rewards, self.quantile, interpolation=self.interpolation)
            spread = rewards.std() if len(rows) > 1 else rewards.new_zeros(())
            return (rewards - baseline) / (spread + 1e-6)

        return by_group(rollouts, of)


qae = register(QuantileAdvantage)
