"""WAPO: successes alone, by how much they beat their group's mean, with one denominator for all lengths.

A = max(R - mean(R), 0);  loss = -sum min(r, 1 + eps) A / (rows * longest)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from entrostat.methods.base import Link, MethodState
from entrostat.methods.groups import by_group
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Rollouts, Surrogate, TokenBatch


@dataclass(frozen=True)
class Wapo(Link):
    """A = max(R - mean(R), 0); ratio at most 1 + eps; the loss is summed over tokens and divided by rows times `longest`.

    Args:
        eps: upper clip; there is no lower one.
        longest: longest completion [tokens], L_max.
    """

    longest: int
    eps: float = 0.2

    card: ClassVar[Card] = Card(
        "wapo",
        effect="either",
        writes=("advantages", "weight_BT", "eps_low", "eps_high"),
        own_advantages="none",
        notes=(
            "successes lower the entropy, but wrong samples push nothing: with steps smaller than GRPO's, it falls more slowly",
        ),
        bounds={"eps": "(0, inf)", "longest": "[1, inf)"},
        source=Source(
            "2606.16154",
            "layer6ai-labs/wapo",
            "eps 0.2",
            (
                "the denominator is reached by a weight on every token, for an objective that takes the mean over tokens",
            ),
        ),
    )

    @torch.no_grad()
    def score(self, rollouts: Rollouts, state: MethodState) -> Rollouts:
        def of(rows: torch.Tensor) -> torch.Tensor:
            reward = rollouts.rewards_B[rows]
            return (reward - reward.mean()).clamp_min(0)

        return by_group(rollouts, of)

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        weight = batch.mask.sum() / (max(batch.mask.shape[0], 1) * self.longest)
        even = torch.ones_like(surrogate.advantages_BT) * weight.to(surrogate.advantages_BT.dtype)
        return replace(surrogate, weight_BT=even, eps_low=1.0, eps_high=self.eps)


wapo = register(Wapo)
