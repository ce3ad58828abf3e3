"""AR and Lopti: the many unlikely tokens, whose gradients are large, count less, or go first.

AR     A (alpha p_old + 1 - alpha)
Lopti  one optimizer step on tokens with p_old < eta, the next on the rest
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from entrostat.errors import ConfigError
from entrostat.methods.base import Card, Link, MethodState, Source
from entrostat.methods.registry import register
from entrostat.types import Old, Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class AdvantageReweighting(Link):
    """A (alpha p_old + 1 - alpha).

    Args:
        alpha: how much of an advantage hangs on the token's probability.
    """

    alpha: float = 0.3

    card: ClassVar[Card] = Card(
        "ar",
        effect="lowers",
        want=(Old("logp"),),
        writes=("advantages_BT",),
        source=Source("2505.12929", "Advantage Reweighting, Eq. 8; zhyang2226/AR-Lopti", "alpha 0.3 (0.1 to 0.3)"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"alpha must lie in [0, 1], got {self.alpha!r}")

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        a = surrogate.advantages_BT
        prob = batch.need(Old("logp")).masked_fill(~batch.mask, 0).exp()
        return replace(surrogate, advantages_BT=(a * (self.alpha * prob + 1 - self.alpha)).to(a.dtype))


@dataclass(frozen=True)
class LowProbabilityFirst(Link):
    """The first optimizer step on a batch trains on tokens with p_old < eta, the second on the rest.

    Args:
        eta: probability that parts the tokens.
    """

    eta: float = 0.5

    card: ClassVar[Card] = Card(
        "lopti",
        effect="either",
        want=(Old("logp"),),
        writes=("weight_BT",),
        notes=("wants two optimizer steps on each batch: num_iterations=2 in TRL, ppo_epochs=2 in verl",),
        source=Source(
            "2505.12929",
            "Lopti, Algorithm 1; zhyang2226/AR-Lopti",
            "eta 0.5",
            ("the two halves are consecutive optimizer steps, told apart by their number",),
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.eta < 1:
            raise ConfigError(f"eta must be a probability in (0, 1), got {self.eta!r}")

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        unlikely = batch.need(Old("logp")).exp() < self.eta
        now = unlikely if int(state.memory.get("step", 0)) % 2 == 0 else ~unlikely
        return replace(surrogate, weight_BT=now.to(surrogate.advantages_BT.dtype))

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        return {"step": memory.get("step", 0) + 1}


ar = register(AdvantageReweighting)
lopti = register(LowProbabilityFirst)
