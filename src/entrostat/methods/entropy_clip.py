"""Two clips, told apart by the entropy: uncertain tokens of a completion get more room than certain ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card
from entrostat.methods.scopes import in_top
from entrostat.types import Form, Surrogate, TokenBatch


@dataclass(frozen=True)
class EntropyClip(Link):
    """A clip of each token by the side of its completion's entropy quantile that it lies on.

    Args:
        eps_low_entropy, eps_high_entropy: clip of both ends, for certain and for uncertain tokens.
        share: of each completion's tokens, the uncertain ones.
        form: another loss of a token, where there is one.
    """

    eps_low_entropy: float
    eps_high_entropy: float
    share: float = 0.2
    form: Form | None = None

    card: ClassVar[Card] = Card(
        "entropy_clip",
        want=("entropy",),
        per_token=("eps_low", "eps_high"),
        needs=("stale",),
        bounds={"eps_low_entropy": "[0, 1)", "eps_high_entropy": "[0, 1)"},
    )

    @property
    def record(self) -> Card:
        ends = ("eps_low", "eps_high")
        return replace(self.card, writes=(*ends, "form") if self.form else ends)

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        uncertain = in_top(batch.stats.need("entropy"), batch.mask, self.top, "sequence", batch)
        eps = torch.full_like(surrogate.advantages_BT, self.eps_low_entropy).masked_fill(
            uncertain, self.eps_high_entropy
        )
        return replace(surrogate, eps_low=eps, eps_high=eps, form=self.form or surrogate.form)
