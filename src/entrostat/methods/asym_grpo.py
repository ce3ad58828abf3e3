"""AsymGRPO: how much a success and a failure count depends on the group's accuracy, with an exponent for each.

A+ = ((1 - q) / q)^b_pos,  A- = -(q / (1 - q))^b_neg,  q the accuracy of the group
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from entrostat.methods.base import Link, MethodState
from entrostat.methods.groups import by_group, check_binary
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Rollouts


@dataclass(frozen=True)
class AsymGRPO(Link):
    """A+ = ((1 - q) / q)^b_pos for reward 1, A- = -(q / (1 - q))^b_neg for reward 0, with q the group's accuracy.

    Args:
        b_pos: exponent for reward 1; GRPO has 0.5 for both.
        b_neg: exponent for reward 0.
    """

    b_pos: float = 0.9
    b_neg: float = 0.4

    card: ClassVar[Card] = Card(
        "asym_grpo",
        effect="either",
        writes=("advantages",),
        own_advantages="other",
        notes=("large exponents blow up where one of many is right",),
        bounds={"b_pos": "[0, inf)", "b_neg": "[0, inf)"},
        source=Source(
            "2604.04894",
            "Eq. 6, from two independent notes",
            "b_pos 0.9, b_neg 0.4",
            ("not read in the paper's own text",),
        ),
    )

    @torch.no_grad()
    def score(self, rollouts: Rollouts, state: MethodState) -> Rollouts:
        rewards = rollouts.rewards_B
        check_binary(rewards, self.name)

        def of(rows: torch.Tensor) -> torch.Tensor:
            reward = rewards[rows]
            q = reward.mean()
            if not 0 < q < 1:
                return torch.zeros_like(reward)
            return torch.where(reward > 0, ((1 - q) / q) ** self.b_pos, -((q / (1 - q)) ** self.b_neg))

        return by_group(rollouts, of)


asym_grpo = register(AsymGRPO)
