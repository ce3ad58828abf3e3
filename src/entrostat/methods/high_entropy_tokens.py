"""80/20: only the tokens of highest entropy are trained on, where a completion forks.

keep the ceil(share * N) tokens of largest H
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.methods.scopes import Scope, in_top
from entrostat.types import Surrogate, TokenBatch


@dataclass(frozen=True)
class HighEntropyTokens(Link):
    """Keep the `share` of tokens with the highest entropy.

    Args:
        share: share of the tokens that is kept.
        scope: tokens that are compared: those of the micro-batch ("micro"), of the "step", the "sequence" or the "group".
        renormalize: whether the other tokens also leave the denominator of the mean, as in the release; TRL's
            `top_entropy_quantile` keeps them there.
    """

    share: float = 0.2
    scope: Scope = "micro"
    renormalize: bool = True

    card: ClassVar[Card] = Card(
        "high_entropy_tokens",
        effect="raises",
        want=("entropy",),
        writes=("keep_BT", "weight_BT"),
        notes=("loses on small models: the paper's gains begin at 14B",),
        pools=("entropy",),
        source=Source(
            "2506.01939",
            "Eq. 5; Shenzhi-Wang/Beyond-the-80-20-Rule-RLVR",
            "share 0.2 of the micro-batch, denominator renormalized",
        ),
    )

    @property
    def record(self) -> Card:
        return replace(
            super().record,
            needs=("groups",) if self.scope == "group" else (),
            writes=("keep_BT",) if self.renormalize else ("weight_BT",),
        )

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        return {"entropy": batch.stats.need("entropy").detach()[batch.mask]} if self.scope == "step" else {}

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        threshold = state.memory.get("entropy")
        if self.scope == "step" and threshold is None and not batch.whole_step:
            return surrogate  # no step has been seen yet: train on all
        entropy = batch.stats.need("entropy")
        # A token whose entropy is NaN stays, so that the loss says so.
        kept = in_top(entropy, batch.mask, self.top, self.scope, batch, threshold) | entropy.isnan()
        if self.renormalize:
            return replace(surrogate, keep_BT=kept)
        return replace(surrogate, weight_BT=kept.to(surrogate.advantages_BT.dtype))


high_entropy_tokens = register(HighEntropyTokens)
