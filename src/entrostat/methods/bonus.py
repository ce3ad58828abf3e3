"""The entropy bonus: the mean entropy as a term of the loss.

Its step at the logits follows the entropy's own gradient, -S with S_i = p_i (H + log p_i), so it raises the entropy by coef |S|^2
per unit of step (docs/frontier.md, equation 2). The sampled token k tells |S|^2 without bias: it is the mean of
p_k (H + log p_k)^2 over k. So the self-tuning controller is told what its coefficients do, as it is of weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from entrostat.control.base import Action
from entrostat.control.knob import Knob, reads_effect
from entrostat.methods.authority import REQUIRES, AuthorityLink, authority_sums
from entrostat.methods.base import MethodState
from entrostat.stats.summarise import sum_dtype
from entrostat.types import Surrogate, Term, TokenBatch


@dataclass(frozen=True)
class EntropyBonus(AuthorityLink):
    """loss - coef * mean(H). A positive coefficient raises the entropy, a negative one lowers it.

    Args:
        coef: number, schedule or controller. With `Step` this is Skywork-OR1's adaptive entropy control.
    """

    coef: Knob

    name: ClassVar[str] = "entropy_bonus"
    actions: ClassVar[Mapping[str, Action]] = {"coef": "raise"}
    writes: ClassVar[frozenset[str]] = frozenset({"terms/entropy_bonus"})

    @property
    def requires(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"entropy"}) | (REQUIRES if reads_effect(self.coef) else frozenset())

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        coef = state.knobs["coef"].output
        if reads_effect(self.coef):
            sums = authority_sums(surrogate, batch, lambda _: None, self.coef, coef, _raised(batch))
            surrogate = dataclasses.replace(surrogate, sums={**surrogate.sums, **sums})
        if coef == 0:
            # No graph for a term that is multiplied by zero; the controller goes on all the same.
            return surrogate
        term = Term("entropy_bonus", -batch.stats.need("entropy"), batch.mask, coef)
        return dataclasses.replace(surrogate, terms=(*surrogate.terms, term))


@torch.no_grad()
def _raised(batch: TokenBatch) -> Tensor:
    """|S|^2 as the sampled tokens estimate it, summed over the tokens."""
    stats = batch.stats
    square = batch.ratio * stats.prob * (stats.need("entropy") + stats.need("logp")).square()
    return square.masked_fill(~batch.mask, 0).sum(dtype=sum_dtype(square.device))
