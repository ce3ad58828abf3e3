"""AR: the many unlikely tokens, whose gradients are large, count less.

A (alpha p_old + 1 - alpha)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Old, Surrogate, TokenBatch


@dataclass(frozen=True)
class AdvantageReweighting(Link):
    """Scale each token's advantage by alpha p_old + 1 - alpha, so that unlikely tokens count for less.

    Args:
        alpha: share of the advantage that is multiplied by the token's probability.
    """

    alpha: float = 0.3

    card: ClassVar[Card] = Card(
        "ar",
        effect="either",
        want=(Old("logp"),),
        writes=("advantages_BT",),
        notes=(
            "it scales advantages by 1 - alpha to 1: under plain gradient descent the drift is smaller, whatever its sign; "
            "AdamW undoes that",
        ),
        bounds={"alpha": "[0, 1]"},
        source=Source("2505.12929", "Advantage Reweighting, Eq. 8; zhyang2226/AR-Lopti", "alpha 0.3 (0.1 to 0.3)"),
    )

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        a = surrogate.advantages_BT
        prob = batch.need(Old("logp")).masked_fill(~batch.mask, 0).exp()
        return replace(surrogate, advantages_BT=(a * (self.alpha * prob + 1 - self.alpha)).to(a.dtype))


ar = register(AdvantageReweighting)
