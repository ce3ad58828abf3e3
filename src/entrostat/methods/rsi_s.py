"""RSI-S: tokens of ordinary surprisal stay.

keep low <= -log p / H <= high
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState, counting
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Surrogate, TokenBatch


@dataclass(frozen=True)
class RelativeSurprisal(Link):
    """Keep tokens whose surprisal is within a range of multiples of the entropy, low <= -log p / H <= high.

    Args:
        low: lowest multiple of the entropy that is kept.
        high: highest multiple.
    """

    low: float = 0.1
    high: float = 3.0

    card: ClassVar[Card] = Card(
        "rsi_s",
        effect="either",
        want=("entropy",),
        writes=("keep_BT",),
        sums=("dropped",),
        metrics={"dropped_share": "share of the tokens that leave the loss"},
        source=Source(
            "2606.31575", "RSI-S, from a third party's code", "0.1 to 3", ("the paper's own thresholds are not known",)
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.low < self.high:
            raise ConfigError(f"low must be below high, got ({self.low}, {self.high})")

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        index = batch.stats.surprisal / batch.stats.need("entropy").clamp_min(1e-8)
        keep = ~((index < self.low) | (index > self.high))
        return counting(surrogate, "dropped", batch.mask & ~keep, keep_BT=keep)


rsi_s = register(RelativeSurprisal)
