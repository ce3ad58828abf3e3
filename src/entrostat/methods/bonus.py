"""The entropy bonus: the mean entropy as a term of the loss.

Its step at the logits follows the gradient of the entropy, -S with S_i = p_i (H + log p_i), so it raises the entropy by coef
|S|^2 per unit of step (docs/frontier.md, equation 2). The sampled tokens k give an unbiased estimate of |S|^2: the mean of p_k (H
+ log p_k)^2. So the self-tuning controller knows the effect of a coefficient, as it does for weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from entrostat.control import Knob
from entrostat.control.knob import reads_effect
from entrostat.methods.authority import REQUIRES, AuthorityLink
from entrostat.methods.base import MethodState
from entrostat.methods.chain import Chain
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset
from entrostat.types import Surrogate, Term, TokenBatch


@dataclass(frozen=True)
class EntropyBonus(AuthorityLink):
    """loss - coef * mean(H). A positive coefficient raises the entropy, a negative one lowers it.

    Args:
        coef: number, schedule or controller. With `Step` this is Skywork-OR1's adaptive entropy control.
    """

    coef: Knob

    card: ClassVar[Card] = Card(
        "entropy_bonus", want=("entropy",), writes=("terms/entropy_bonus",), terms=("entropy",), knobs={"coef": "raise"}
    )

    @property
    def record(self) -> Card:
        # Without a controller that asks for its effect nothing but the entropy is needed.
        if not reads_effect(self.coef):
            return self.card
        return dataclasses.replace(self.card, want=REQUIRES, sums=self.authority_sums)

    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        return super().measure(surrogate, batch, state) if reads_effect(self.coef) else {}

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        coef = state.knobs["coef"].output
        if coef == 0:
            # No graph for a term that is multiplied by zero; the controller goes on all the same.
            return surrogate
        term = Term("entropy_bonus", "entropy", batch.mask, -coef)
        return dataclasses.replace(surrogate, terms=(*surrogate.terms, term))


@preset(Source("1602.01783", "entropy regularization; TRL entropy_coef, verl entropy_coeff", "0.001"), effect="raises")
def entropy_bonus(coef: Knob = 1e-3) -> Chain:
    """loss - coef * mean entropy; the coefficient may be a schedule or a controller."""
    return one("entropy_bonus", EntropyBonus(coef))
