"""Entropy-advantage shaping: uncertain tokens get a larger advantage.

A + min(alpha H, |A| / kappa)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from entrostat.control.knob import Knob
from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Surrogate, TokenBatch


@dataclass(frozen=True)
class EntropyAdvantage(Link):
    """Add min(alpha H, |A| / kappa) to each token's advantage, with H its entropy, without gradient.

    Args:
        alpha: advantage per nat; 0.4 with GRPO, 0.1 with PPO in the paper.
        kappa: bounds what is added; above 1 the sign of an advantage stays.
    """

    alpha: Knob = 0.4
    kappa: float = 2.0

    card: ClassVar[Card] = Card(
        "entropy_advantage",
        effect="either",
        want=("entropy",),
        writes=("advantages_BT",),
        knobs={"alpha": "raise"},
        notes=(
            "the entropy declines more slowly where most answers are right, and faster where few are or each batch is trained on "
            "several times (benchmarks/quality/lens)",
        ),
        bounds={"kappa": "(1, inf)"},
        source=Source("2506.14758", "Section 3, Eqs. 6 and 7", "alpha 0.4, kappa 2"),
    )

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        a = surrogate.advantages_BT
        bonus = (state.knobs["alpha"].output * batch.stats.need("entropy")).minimum(a.abs() / self.kappa)
        return replace(surrogate, advantages_BT=a + bonus.to(a.dtype))


entropy_advantage = register(EntropyAdvantage)
