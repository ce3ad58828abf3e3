"""CE-GPPO: tokens beyond the clip keep a bounded gradient, each side with a weight of its own.

r < 1 - eps_low, A < 0:   loss = -b_low  (1 - eps_low)  (r / sg r) A
r > 1 + eps_high, A > 0:  loss = -b_high (1 + eps_high) (r / sg r) A;   otherwise -r A
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from entrostat.methods.base import Link, MethodState
from entrostat.methods.chain import Chain
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset, register
from entrostat.types import Form, Surrogate, TokenBatch


@dataclass(frozen=True)
class PreservedGradient(Form):
    """The loss above; `beta_low` and `beta_high` weigh the gradients beyond the lower and the upper clip."""

    beta_low: float
    beta_high: float

    def loss(
        self,
        log_ratio_BT: Tensor,
        advantages_BT: Tensor,
        eps_low: float | Tensor,
        eps_high: float | Tensor,
        dual_clip: float | None,
    ) -> Tensor:
        ratio, a = log_ratio_BT.exp(), advantages_BT
        one = ratio / ratio.detach()
        loss = -ratio * a
        loss = torch.where((ratio < 1 - eps_low) & (a < 0), -self.beta_low * (1 - eps_low) * one * a, loss)
        loss = torch.where((ratio > 1 + eps_high) & (a > 0), -self.beta_high * (1 + eps_high) * one * a, loss)
        return loss if dual_clip is None else torch.where(a < 0, torch.minimum(loss, -a * dual_clip), loss)


@dataclass(frozen=True)
class CEGPPO(Link):
    """Gradient-preserving clip with a coefficient on either side.

    Args:
        beta_low: weight beyond the lower clip, tokens of wrong samples; larger lowers the entropy.
        beta_high: weight beyond the upper clip, tokens of correct samples; larger raises it.
        eps_low: lower clip.
        eps_high: upper clip.
        dual_clip: largest ratio for A < 0; None: no such bound.
    """

    beta_low: float = 0.5
    beta_high: float = 1.0
    eps_low: float = 0.2
    eps_high: float = 0.2
    dual_clip: float | None = 3.0

    card: ClassVar[Card] = Card(
        "ce_gppo",
        effect="either",
        writes=("form", "eps_low", "eps_high", "dual_clip"),
        bounds={
            "beta_low": "[0, inf)",
            "beta_high": "[0, inf)",
            "eps_low": "[0, 1]",
            "eps_high": "[0, inf)",
            "dual_clip": "(1, inf)",
        },
        needs=("stale",),
        source=Source(
            "2509.20712", "Eq. 9; Kwai-Klear/CE-GPPO, general_beta", "beta_low 0.5 (0.75 for 7B), beta_high 1, clip 0.2"
        ),
    )

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        form = PreservedGradient(self.beta_low, self.beta_high)
        return replace(surrogate, form=form, eps_low=self.eps_low, eps_high=self.eps_high, dual_clip=self.dual_clip)


@preset(Source("2508.07629", "GPPO (Klear-Reasoner), Eq. 7", "clip 0.2, both weights 1"), effect="either")
def gppo(eps_low: float = 0.2, eps_high: float = 0.2) -> Chain:
    """The parent of CE-GPPO: both sides keep their gradient at the clip's edge.

    Args:
        eps_low: lower clip.
        eps_high: upper clip.
    """
    return one("gppo", CEGPPO(1.0, 1.0, eps_low, eps_high))


ce_gppo = register(CEGPPO)
