"""ERC, entropy ratio clipping: a token whose entropy has moved too far since sampling gives no gradient.

the loss keeps its value and loses its gradient unless  low < H / H_old < high
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState, counting
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Old, Surrogate, TokenBatch


@dataclass(frozen=True)
class EntropyRatioClip(Link):
    """Stop the gradient of tokens outside low < H / H_old < high; they keep their place in the denominator.

    Args:
        low: lower bound of the ratio of full-vocabulary entropies.
        high: upper bound.
    """

    low: float = 0.95
    high: float = 1.05

    card: ClassVar[Card] = Card(
        "erc",
        effect="either",
        want=("entropy", Old("entropy")),
        writes=("stopped_BT",),
        needs=("stale",),
        sums=("stopped",),
        metrics={"stopped_share": "share of the tokens whose gradient is stopped"},
        notes=("a trust region on the entropy, not a target",),
        source=Source(
            "2512.05591",
            "Eqs. 7 and 8; Kwai-Klear/ERC",
            "bounds 0.95 and 1.05, of its scripts (0.8 and 1.2 in its yaml)",
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.low < 1 < self.high:
            raise ConfigError(f"the bounds must lie around 1, got ({self.low}, {self.high})")

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        ratio = (batch.stats.need("entropy") + 1e-8) / (batch.need(Old("entropy")) + 1e-8)
        stopped = batch.mask & ~((ratio > self.low) & (ratio < self.high))
        return counting(surrogate, "stopped", stopped, stopped_BT=stopped)


erc = register(EntropyRatioClip)
