"""Archer and ASPO: uncertain tokens get more room than certain ones; ASPO turns the ratio of positive samples over.

Of each completion, the tokens above the entropy quantile have the clip `eps_high_entropy`, the others `eps_low_entropy`.
ASPO, A > 0:  the gradient is A / r in place of r A, so that tokens that lag behind are helped most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from entrostat.errors import ConfigError
from entrostat.methods.base import Card, Link, MethodState, Source
from entrostat.methods.chain import Chain
from entrostat.methods.registry import one, preset
from entrostat.methods.scopes import Top, in_top
from entrostat.types import Form, Surrogate, TokenBatch


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


@dataclass(frozen=True)
class DualClip(Link):
    """A clip of each token by the side of its completion's entropy quantile that it lies on.

    Args:
        eps_low_entropy, eps_high_entropy: clip of both ends, for certain and for uncertain tokens.
        share: of each completion's tokens, the uncertain ones.
        flip: whether positive samples' ratio is turned over (ASPO).
    """

    eps_low_entropy: float
    eps_high_entropy: float
    share: float = 0.2
    flip: bool = False

    card: ClassVar[Card] = Card("dual_entropy_clip", want=("entropy",), needs=("stale",))

    @property
    def record(self) -> Card:
        ends = ("eps_low", "eps_high")
        return replace(self.card, writes=(*ends, "form") if self.flip else ends)

    def __post_init__(self) -> None:
        super().__post_init__()
        Top(self.share)
        if not (0 <= self.eps_low_entropy < 1 and 0 <= self.eps_high_entropy < 1):
            raise ConfigError(
                f"both clips must lie in [0, 1), got {self.eps_low_entropy!r} and {self.eps_high_entropy!r}"
            )

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        uncertain = in_top(batch.stats.need("entropy"), batch.mask, Top(self.share), "sequence", batch)
        eps = torch.full_like(surrogate.advantages_BT, self.eps_low_entropy).masked_fill(
            uncertain, self.eps_high_entropy
        )
        form = FlippedRatio() if self.flip else surrogate.form
        return replace(surrogate, eps_low=eps, eps_high=eps, form=form)


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
    """Asymmetric importance sampling: positive samples' lagging tokens are no longer starved.

    Args:
        eps_low_entropy, eps_high_entropy: clip of certain and of uncertain tokens.
        share: of each completion's tokens, the uncertain ones.
    """
    return one("aspo", DualClip(eps_low_entropy, eps_high_entropy, share, flip=True))


@preset(
    Source(
        "2507.15778",
        "Eqs. 6 and 7; wizard-III/ArcherCodeR",
        "clip 0.2 for certain tokens and 0.5 for uncertain ones, the upper fifth of each completion",
        ("its KL term on certain tokens (0.001) is the host's own, which acts on all tokens",),
    ),
    effect="either",
)
def archer(eps_low_entropy: float = 0.2, eps_high_entropy: float = 0.5, share: float = 0.2) -> Chain:
    """Knowledge is held tightly, reasoning loosely: two clips, told apart by the entropy.

    Args:
        eps_low_entropy, eps_high_entropy: clip of certain and of uncertain tokens.
        share: of each completion's tokens, the uncertain ones.
    """
    return one("archer", DualClip(eps_low_entropy, eps_high_entropy, share))
