"""Lopti: the many unlikely tokens, whose gradients are large, go first.

one optimizer step on tokens with p_old < eta, the next on the rest
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Old, Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class LowProbabilityFirst(Link):
    """The first optimizer step on a batch trains on tokens with p_old < eta, the second on the rest.

    Args:
        eta: probability that separates the two halves.
    """

    eta: float = 0.5

    card: ClassVar[Card] = Card(
        "lopti",
        effect="either",
        want=(Old("logp"),),
        writes=("weight_BT",),
        notes=("needs two optimizer steps on each batch: num_iterations=2 in TRL, ppo_epochs=2 in verl",),
        bounds={"eta": "(0, 1)"},
        source=Source(
            "2505.12929",
            "Lopti, Algorithm 1; zhyang2226/AR-Lopti",
            "eta 0.5",
            ("the two halves are consecutive optimizer steps, told apart by their number",),
        ),
    )

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        unlikely = batch.need(Old("logp")).exp() < self.eta
        now = unlikely if int(state.memory.get("step", 0)) % 2 == 0 else ~unlikely
        return replace(surrogate, weight_BT=now.to(surrogate.advantages_BT.dtype))

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        return {"step": memory.get("step", 0) + 1}


lopti = register(LowProbabilityFirst)
