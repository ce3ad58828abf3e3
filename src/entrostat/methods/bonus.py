"""The entropy bonus: the mean entropy as a term of the loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from entrostat.control.base import Action
from entrostat.control.knob import Knob
from entrostat.methods.base import Link, MethodState
from entrostat.types import Surrogate, Term, TokenBatch


@dataclass(frozen=True)
class EntropyBonus(Link):
    """loss - coef * mean(H). A positive coefficient raises the entropy, a negative one lowers it.

    Args:
        coef: number, schedule or controller. With `Step` this is Skywork-OR1's adaptive entropy control.
    """

    coef: Knob

    name: ClassVar[str] = "entropy_bonus"
    actions: ClassVar[Mapping[str, Action]] = {"coef": "raise"}
    writes: ClassVar[frozenset[str]] = frozenset({"terms/entropy_bonus"})
    requires: ClassVar[frozenset[str]] = frozenset({"entropy"})

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        coef = state.knobs["coef"].output
        if coef == 0:
            # No graph for a term that is multiplied by zero; the controller goes on all the same.
            return surrogate
        term = Term("entropy_bonus", -batch.stats.need("entropy"), batch.mask, coef)
        return dataclasses.replace(surrogate, terms=(*surrogate.terms, term))
