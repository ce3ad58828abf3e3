"""OPEFO: tokens that raise the entropy and tokens that lower it are weighted until the two sides balance.

lam = (N - P) / (N + P), with P and N the sums of the rising and the falling changes; weights 1 + lam and 1 - lam
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.stats.summarize import sum_dtype
from entrostat.types import Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class Opefo(Link):
    """Balance the first-order change of entropy over a batch.

    Args:
        change: each token's change: "exact", -A D; "self", -A S; or "paper", -A p (1 - p)^2 (log p + H).
        scope: over which tokens the two sides are added up, "step" or "micro".
    """

    change: Literal["exact", "self", "paper"] = "exact"
    scope: Literal["step", "micro"] = "step"

    card: ClassVar[Card] = Card(
        "opefo",
        effect="raises",
        want=("entropy",),
        writes=("weight_BT",),
        sums=("rising", "falling"),
        notes=("made for strictly on-policy training, where most of the paper's gain comes from",),
        source=Source(
            "2605.11491",
            "Eqs. 8 to 10, from two independent notes",
            "balanced exactly",
            (
                "the change is -A D, which is exact at the logits; the paper's own form is inferred from its one numeric example "
                "(change='paper')",
                "balanced over the optimizer step (scope='step'), the last one where the host does not have it at hand",
            ),
        ),
    )

    @property
    def record(self) -> Card:
        return replace(self.card, want=("entropy", "baseline")) if self.change == "exact" else self.card

    def _change(self, surrogate: Surrogate, batch: TokenBatch) -> Tensor:
        stats = batch.stats.detach()
        if self.change == "paper":
            rest = -torch.expm1(stats.need("logp"))
            toward = stats.prob * rest.square() * (stats.need("logp") + stats.need("entropy"))
        else:
            toward = stats.centered if self.change == "exact" else stats.discriminator
        return (-surrogate.advantages_BT * toward).masked_fill(~batch.mask, 0)

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        change = self._change(surrogate, batch).to(sum_dtype(batch.mask.device))
        return {"rising": change.clamp_min(0).sum(), "falling": -change.clamp_max(0).sum()}

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        change = self._change(surrogate, batch)
        balance: Tensor | float = state.memory.get("balance", 0.0)
        if self.scope == "micro":
            sums = self.measure(surrogate, batch, state)
            balance = _balance(float(sums["rising"]), float(sums["falling"]))
        return replace(surrogate, weight_BT=(1 + balance * change.sign()).to(surrogate.advantages_BT.dtype))

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        return {"balance": _balance(summary.get("rising"), summary.get("falling"))}


def _balance(rising: float, falling: float) -> float:
    """How much of all change lowers the entropy beyond what raises it, from -1 to 1; 0 where nothing changes."""
    return (falling - rising) / (falling + rising) if falling + rising else 0.0


opefo = register(Opefo)
