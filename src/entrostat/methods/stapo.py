"""STAPO: rare tokens at certain positions that were rewarded by accident are dropped.

drop A > 0, p < prob, H among the lowest `share`
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from entrostat.methods.base import Link, MethodState, counting
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.methods.scopes import in_top
from entrostat.types import Surrogate, TokenBatch


@dataclass(frozen=True)
class Stapo(Link):
    """Drop tokens with A > 0, p < `prob` and an entropy among the lowest `share`; the mean is over the kept.

    Args:
        prob: probability below which a token is rare.
        share: share of the tokens, those of lowest entropy, that count as certain.
        scope: tokens over which the share is taken: "step" or "micro".
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
        pools=("certainty",),
        bounds={"prob": "(0, 1)"},
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

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        return {"certainty": -batch.stats.need("entropy").detach()[batch.mask]} if self.scope == "step" else {}

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        certainty = -batch.stats.need("entropy")
        certain = in_top(certainty, batch.mask, self.top, self.scope, batch, state.memory.get("certainty"))
        spurious = certain & (surrogate.advantages_BT > 0) & (batch.stats.need("logp") < math.log(self.prob))
        keep = ~spurious
        return counting(surrogate, "dropped", batch.mask & ~keep, keep_BT=keep)


stapo = register(Stapo)
