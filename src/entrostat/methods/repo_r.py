"""REPO-R: advantages are scaled by the surprisal, keeping their sign.

A > 0: max(0, A (1 - zeta log p));   A < 0: min(0, A (1 + zeta log p))
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from entrostat.control import Initial, Knob, TargetLike
from entrostat.control.doubling import Doubling
from entrostat.control.targets import as_target
from entrostat.methods.base import Link, MethodState
from entrostat.methods.chain import Chain
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset
from entrostat.methods.repo import ROUNDING
from entrostat.types import Surrogate, TokenBatch


@dataclass(frozen=True)
class RepoR(Link):
    """Scale each token's advantage by its surprisal, keeping its sign.

    Args:
        zeta: per nat of surprisal; above 0 it raises the entropy, below 0 it lowers it.
    """

    zeta: Knob

    card: ClassVar[Card] = Card("repo_r", writes=("advantages_BT",), knobs={"zeta": "raise"}, notes=(ROUNDING,))

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        a, zeta = surrogate.advantages_BT, state.knobs["zeta"].output
        surprisal = batch.stats.surprisal.masked_fill(~batch.mask, 0)
        up, down = (a * (1 + zeta * surprisal)).clamp_min(0), (a * (1 - zeta * surprisal)).clamp_max(0)
        return replace(surrogate, advantages_BT=torch.where(a > 0, up, torch.where(a < 0, down, a)).to(a.dtype))


@preset(
    Source(
        "2603.11682",
        "REPO-R, Appendix D.2",
        "zeta 0.01, doubled or halved each step within (1e-4, 1) of either sign, target the initial entropy",
        (
            "the controller is stepped once per optimizer step, on the exact mean; the paper steps it once per iteration",
        ),
    ),
    effect="holds",
    notes=(ROUNDING,),
    replaces={"zeta": ("target", "start", "smallest", "largest")},
)
def repo_r(
    target: TargetLike = Initial(),  # noqa: B008  # frozen
    start: float = 0.01,
    smallest: float = 1e-4,
    largest: float = 1.0,
    zeta: Knob | None = None,
) -> Chain:
    """REPO-R with its controller: zeta doubles below the target and halves above it, through either sign.

    Args:
        target: entropy [nats per token].
        start: zeta before the first measurement.
        smallest: size of zeta at which it changes its sign instead of shrinking further.
        largest: largest size of zeta.
        zeta: replaces the rule by a number, a schedule or another controller.
    """
    rule = Doubling(as_target(target), start, smallest, largest) if zeta is None else zeta
    return one("repo_r", RepoR(rule))
