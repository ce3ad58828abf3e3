"""Tokens chosen by their surprisal beside the entropy: RSI-S keeps the ordinary ones, STAPO drops spurious successes.

RSI-S  keep low <= -log p / H <= high
STAPO  drop A > 0, p < prob, H among the lowest `share`
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from entrostat.errors import ConfigError
from entrostat.methods.base import Card, Link, MethodState, Source
from entrostat.methods.registry import register
from entrostat.methods.scopes import Top, check_scope, in_top
from entrostat.stats.summarise import sum_dtype
from entrostat.types import Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class RelativeSurprisal(Link):
    """Keep tokens whose surprisal is within a range of multiples of the entropy, low <= -log p / H <= high.

    Args:
        low, high: multiples.
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
        return _kept(surrogate, batch, ~((index < self.low) | (index > self.high)))

    def report(self, summary: Summary) -> dict[str, float]:
        return {"dropped_share": summary.mean("dropped")}


@dataclass(frozen=True)
class Stapo(Link):
    """Drop tokens with A > 0, p < `prob` and an entropy among the lowest `share`: rare, certain, and rewarded by accident.

    The mean is over the kept.

    Args:
        prob: probability below which a token is rare.
        share: of the tokens, those of lowest entropy.
        scope: of the share, "step" or "micro".
    """

    prob: float = 0.01
    share: float = 0.05
    scope: Literal["step", "micro"] = "step"

    card: ClassVar[Card] = Card(
        "stapo",
        effect="lowers",
        want=("entropy",),
        writes=("keep_BT",),
        sums=("dropped",),
        metrics={"dropped_share": "share of the tokens that leave the loss"},
        source=Source(
            "2602.15620",
            "spurious tokens",
            "p below 0.01, entropy among the lowest 5 %",
            (
                "the threshold of the probability is read as about 0.01",
                "the share is of the optimizer step (scope='step')",
            ),
        ),
    )

    @property
    def record(self) -> Card:
        return replace(self.card, tops={"certainty": Top(self.share)} if self.scope == "step" else {})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_scope(self.scope, ("step", "micro"))
        Top(self.share)
        if not 0 < self.prob < 1:
            raise ConfigError(f"prob must be a probability in (0, 1), got {self.prob!r}")

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        return {"certainty": -batch.stats.need("entropy").detach()[batch.mask]} if self.scope == "step" else {}

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        certainty = -batch.stats.need("entropy")
        certain = in_top(certainty, batch.mask, Top(self.share), self.scope, batch, state.memory.get("certainty"))
        spurious = certain & (surrogate.advantages_BT > 0) & (batch.stats.need("logp") < math.log(self.prob))
        return _kept(surrogate, batch, ~spurious)

    def report(self, summary: Summary) -> dict[str, float]:
        return {"dropped_share": summary.mean("dropped")}


def _kept(surrogate: Surrogate, batch: TokenBatch, keep: Tensor) -> Surrogate:
    dropped = (batch.mask & ~keep).sum(dtype=sum_dtype(keep.device))
    return replace(surrogate, keep_BT=keep, sums={**surrogate.sums, "dropped": dropped})


rsi_s = register(RelativeSurprisal)
stapo = register(Stapo)
