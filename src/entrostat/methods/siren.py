"""SIREN: the entropy of the likely part of the vocabulary, at the tokens where it is high, is held where it started.

loss = pg + coef (E - anchor)^2;  E: mean over sequences of the mean nucleus entropy over their upper fifth of tokens
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.methods.scopes import in_top
from entrostat.stats.summarize import sum_dtype
from entrostat.types import Nucleus, Summary, Surrogate, Term, TokenBatch


@dataclass(frozen=True)
class Siren(Link):
    """Hold the selective nucleus entropy at its first value, or at one that is given.

    Args:
        coef: coefficient of the squared distance.
        mass: probability mass of the nucleus.
        share: share of each sequence's tokens, those of highest nucleus entropy, that count.
        anchor: value to hold [nats]; if not given, that of the first optimizer step.
    """

    coef: float = 0.005
    mass: float = 0.8
    share: float = 0.2
    anchor: float | None = None

    card: ClassVar[Card] = Card(
        "siren",
        effect="holds",
        writes=("terms/siren",),
        sums=("aggregate",),
        metrics={"aggregate": "the selective nucleus entropy of the step [nats]"},
        notes=("pulls to both sides of its anchor: it cannot raise or anneal unless the anchor is given",),
        bounds={"coef": "[0, inf)", "mass": "(0, 1]", "anchor": "[0, inf)"},
        source=Source(
            "2509.25133",
            "Eqs. 8 to 11; Linn3a/siren",
            "coef 0.005, mass 0.8, upper fifth of each sequence",
            (
                "the gradient's factor 2 (E - anchor) comes from the last optimizer step's E over all sequences; the release "
                "squares the micro-batch's own",
                "the anchor is measured in the first step's forward pass; the release takes its old-policy pass",
            ),
        ),
    )

    @property
    def _nucleus(self) -> Nucleus:
        return Nucleus(self.mass, crossing=False, most=10_000, gradient=True)

    @property
    def record(self) -> Card:
        return replace(self.card, want=(self._nucleus,), terms=(self._nucleus,))

    def _selected(self, batch: TokenBatch) -> Tensor:
        return in_top(batch.need(self._nucleus), batch.mask, self.top, "sequence", batch)

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        selected = self._selected(batch)
        value = batch.need(self._nucleus).detach().masked_fill(~selected, 0)
        rows = value.sum(1, dtype=sum_dtype(value.device)) / selected.sum(1).clamp_min(1)
        return {"aggregate": rows.sum()}

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        if "aggregate" not in state.memory:
            return surrogate  # the anchor is being measured
        selected = self._selected(batch)
        slope = 2 * self.coef * (state.memory["aggregate"] - state.memory["anchor"])
        # A mean over the selected tokens of the micro-batch, weighted so that every sequence counts alike.
        rows = batch.mask.any(1).sum().clamp_min(1)
        share = selected.sum() / (rows * selected.sum(1, keepdim=True).clamp_min(1))
        factor = share.expand_as(surrogate.advantages_BT).to(surrogate.advantages_BT.dtype)
        term = Term("siren", self._nucleus, selected, slope, factor, over="micro")
        return replace(surrogate, terms=(*surrogate.terms, term))

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        aggregate = summary.get("aggregate") / max(summary.get("sequences"), 1.0)
        anchor = self.anchor if self.anchor is not None else memory.get("anchor", aggregate)
        return {"aggregate": aggregate, "anchor": anchor}

    def report(self, summary: Summary) -> dict[str, float]:
        return {"aggregate": summary.get("aggregate") / max(summary.get("sequences"), 1.0)}


siren = register(Siren)
