"""STEER: tokens that would move the entropy most, either way, count less.

Omega_t = |A / p_old * p (1 - p)(log p + H)|;   w_t = max(exp(-k Omega), w_min),  k = -log(w_min) / max(max Omega, 0.02)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.methods.scopes import Top
from entrostat.types import Surrogate, TokenBatch

_LEAST_MAXIMUM = 0.02  # as released: below it nothing stands out


@dataclass(frozen=True)
class Steer(Link):
    """Weigh each token by the size of its first-order effect on the entropy.

    Args:
        w_min: weight of the token with the largest effect.
        scope: where the largest effect comes from, "step" (all tokens, all ranks) or "micro", as released.
    """

    w_min: float = 0.8
    scope: Literal["step", "micro"] = "step"

    card: ClassVar[Card] = Card(
        "steer",
        effect="either",
        want=("entropy",),
        writes=("weight_BT",),
        notes=("damps both directions; one outlier sets the scale of all weights",),
        bounds={"w_min": "(0, 1]"},
        pools=("largest",),
        source=Source(
            "2510.10150",
            "Eqs. 7 and 9, exponential form; zz-haooo/STEER run_exp.sh",
            "w_min 0.8",
            (
                "the largest effect is that of the optimizer step over all ranks (scope='step'), of the last one where the host "
                "does not have it at hand; the release takes the micro-batch's on one rank (scope='micro')",
            ),
        ),
    )

    @property
    def top(self) -> Top:
        return Top(1e-9, "down")  # one value: the maximum

    def _effect(self, surrogate: Surrogate, batch: TokenBatch) -> Tensor:
        stats = batch.stats.detach()
        logp = stats.need("logp").masked_fill(~batch.mask, 0).clamp_min(math.log(1e-8))
        old = logp if batch.old_logp_BT is None else batch.old_logp_BT.masked_fill(~batch.mask, 0)
        size = surrogate.advantages_BT / old.exp().clamp_min(1e-8) * logp.exp() * -torch.expm1(logp)
        return (size * (logp + stats.need("entropy"))).abs().masked_fill(~batch.mask, 0)

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        return {"largest": self._effect(surrogate, batch)[batch.mask]} if self.scope == "step" else {}

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        effect = self._effect(surrogate, batch)
        largest = effect.max().item() if effect.numel() else 0.0
        if self.scope == "step" and not batch.whole_step:
            largest = state.memory.get("largest", math.inf)  # before the first step every weight is 1
        rate = -math.log(self.w_min) / max(largest, _LEAST_MAXIMUM)
        weight = (-rate * effect).exp().clamp(self.w_min, 1)
        return replace(surrogate, weight_BT=weight.to(surrogate.advantages_BT.dtype))


steer = register(Steer)
