"""ASPO: uncertain tokens get more room than certain ones, and the ratio of positive samples is turned over.

Of each completion, the tokens above the entropy quantile have the clip `eps_high_entropy`, the others `eps_low_entropy`.

    A > 0: the gradient is A / r in place of r A, so that tokens that lag behind are helped most
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entrostat.methods.chain import Chain
from entrostat.methods.entropy_clip import EntropyClip
from entrostat.methods.record import Source
from entrostat.methods.registry import one, preset
from entrostat.types import Form


@dataclass(frozen=True)
class FlippedRatio(Form):
    """A > 0: -(A / sg c)(c / sg c) with c = min(r, 1 + eps_high), of slope at most `dual` A; A < 0: the clipped loss."""

    dual: float = 3.0

    def loss(
        self,
        log_ratio_BT: Tensor,
        advantages_BT: Tensor,
        eps_low: float | Tensor,
        eps_high: float | Tensor,
        dual_clip: float | None,
    ) -> Tensor:
        ratio, a = log_ratio_BT.exp(), advantages_BT
        top = torch.as_tensor(1 + eps_high, dtype=ratio.dtype, device=ratio.device)
        bottom = torch.as_tensor(1 - eps_low, dtype=ratio.dtype, device=ratio.device)
        c = torch.minimum(ratio, top)
        flipped = -a / c.detach() * (c / c.detach())
        soft = -a * self.dual * log_ratio_BT
        positive = torch.where(1 / ratio.detach() > self.dual, soft, flipped)
        negative = torch.minimum(-a * torch.maximum(ratio, bottom), -a * self.dual)
        return torch.where(a > 0, positive, negative)


@preset(
    Source(
        "2510.06062",
        "Eqs. 5 to 7; wizard-III/Archer2.0",
        "clip 0.2 for certain tokens and 0.4 for uncertain ones, the upper fifth of each completion; dual 3",
    ),
    effect="either",
    notes=("turning importance sampling over biases the gradient on stale data",),
)
def aspo(eps_low_entropy: float = 0.2, eps_high_entropy: float = 0.4, share: float = 0.2) -> Chain:
    """Invert the importance ratio of positive samples, so that tokens whose probability has fallen get the larger gradient.

    Args:
        eps_low_entropy: clip of certain tokens.
        eps_high_entropy: clip of uncertain tokens.
        share: share of each completion's tokens, those of highest entropy, that count as uncertain.
    """
    return one("aspo", EntropyClip(eps_low_entropy, eps_high_entropy, share, FlippedRatio()))
