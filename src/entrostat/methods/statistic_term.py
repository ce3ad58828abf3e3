"""A statistic that carries a gradient as a term of the loss: what AEnt, TRE and the reheater are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from entrostat.control import Knob
from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card
from entrostat.types import Statistic, Surrogate, Term, TokenBatch


@dataclass(frozen=True)
class StatisticTerm(Link):
    """loss + sign * coef * mean of a statistic that carries a gradient.

    Args:
        of: the statistic, with `gradient=True`.
        coef: number, schedule or controller.
        sign: -1 for a bonus, 1 for a penalty.
    """

    of: Statistic
    coef: Knob
    sign: float = -1.0

    card: ClassVar[Card] = Card("statistic_term", effect="raises", writes=("terms/statistic",), knobs={"coef": "raise"})

    @property
    def record(self) -> Card:
        return replace(self.card, want=(self.of,), terms=(self.of,))

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        coef = state.knobs["coef"].output
        if coef == 0:
            return surrogate  # no graph for a term that is multiplied by zero
        term = Term("statistic", self.of, batch.mask, self.sign * coef)
        return replace(surrogate, terms=(*surrogate.terms, term))
