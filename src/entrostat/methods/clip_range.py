"""The clip range of the importance ratio, each end a knob."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from entrostat.control.knob import Knob
from entrostat.methods.base import Link, MethodState
from entrostat.methods.chain import Chain
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset
from entrostat.types import Surrogate, TokenBatch

ADAPTIVE = (
    "does nothing while every importance ratio is 1",
    "on policies that learn, a larger upper clip gives more reward at equal entropy rather than more entropy",
)
"""What holds of clips that follow the entropy."""


@dataclass(frozen=True)
class ClipRange(Link):
    """Clip the ratio to [1 - eps_low, 1 + eps_high].

    Does nothing where every ratio is 1, that is on strictly on-policy data: hosts warn of that.

    Args:
        eps_high: a larger one lets unlikely tokens of correct samples grow, and raises the entropy (2509.26114) at equal
            reward; it also speeds up learning, which lowers it (docs/methods/clip_higher.md). `null`, None in Python,
            keeps the host's.
        eps_low: a larger one lets tokens of wrong samples shrink further, and lowers it. `null`, None in Python, keeps
            the host's.
    """

    eps_high: Knob | None = None
    eps_low: Knob | None = None

    card: ClassVar[Card] = Card(
        "clip_range",
        writes=("eps_high", "eps_low"),
        needs=("stale",),
        knobs={"eps_high": "raise", "eps_low": "lower"},
        bounds={"eps_high": "[0, inf]", "eps_low": "[0, 1]"},
    )

    @property
    def record(self) -> Card:
        return dataclasses.replace(self.card, writes=tuple(self.knobs))

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        return dataclasses.replace(surrogate, **{knob: own.output for knob, own in state.knobs.items()})


@preset(
    Source(
        "2503.14476",
        "DAPO clip-higher",
        "eps_low 0.2, eps_high 0.28",
        ("does nothing while every importance ratio is 1; the host warns of it",),
    ),
    effect="either",
)
def clip_higher(eps_high: Knob = 0.28, eps_low: Knob | None = 0.2) -> Chain:
    """Asymmetric clip range; `eps_high` may be a controller, which makes it an adaptive upper clip (2603.11682)."""
    return one("clip_higher", ClipRange(eps_high, eps_low))
