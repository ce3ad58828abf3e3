"""Flexible clip: the clip of a token depends on its probability, and on the phase of training or on the entropy.

Hf(p) = 0.50 - 0.25 p: an upper end 1 + Hf(p_old) raises the entropy
Mf(p) = 0.30 - 0.13 p: a lower end 1 - Mf(p_old) lowers it

id    first half: upper end from Hf to the standard clip; second half: lower end from Mf to the standard clip
did   first half: upper end from the standard clip to Hf; second half: upper end Hf, lower end as id
od    Hf from tau_low down until above tau_high, then Mf until at tau_low again; tau_high decays to tau_low over the run
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Old, Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class FlexibleClip(Link):
    """A clip range that depends on each token's own probability.

    Args:
        steps: optimizer steps of the whole run.
        mode: the schedule in the formula: "id", "did" or "od"; "id" did best in the paper.
        grow: value at p = 0 and slope of Hf.
        fall: value at p = 0 and slope of Mf.
        standard: the clip at an end that is not flexible.
        floor: in "od", tau_low as a share of the initial entropy.
    """

    steps: int
    mode: Literal["id", "did", "od"] = "id"
    grow: tuple[float, float] = (0.50, -0.25)
    fall: tuple[float, float] = (0.30, -0.13)
    standard: float = 0.2
    floor: float = 0.2

    card: ClassVar[Card] = Card(
        "flexible_clip",
        effect="either",
        want=(Old("logp"),),
        writes=("eps_low", "eps_high"),
        bounds={"standard": "[0, 1]", "floor": "[0, 1]"},
        needs=("stale",),
        notes=("the phases are halves of a run whose length must be known",),
        source=Source(
            "2602.09782",
            "its authors' blog for the phases; slopes from third-party notes",
            "Hf 0.50 - 0.25 p, Mf 0.30 - 0.13 p, standard clip 0.2",
            ("p is the old policy's probability, without gradient: the paper does not say which",),
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 2:
            raise ConfigError(f"steps must be the optimizer steps of the run, at least 2, got {self.steps!r}")

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        p = batch.need(Old("logp")).masked_fill(~batch.mask, 0).exp().to(surrogate.advantages_BT.dtype)
        grow, fall = self.grow[0] + self.grow[1] * p, self.fall[0] + self.fall[1] * p
        high_share, low_share = self._shares(state.memory)
        high = high_share * grow + (1 - high_share) * self.standard
        low = low_share * fall + (1 - low_share) * self.standard
        return replace(surrogate, eps_high=high, eps_low=low)

    def _shares(self, memory: Mapping[str, float]) -> tuple[float, float]:
        """How far the upper end is Hf and the lower end Mf, each from 0 to 1."""
        step = min(int(memory.get("step", 0)), self.steps)
        lam = 1 - 2 * step / self.steps  # 1 at the start, 0 in the middle, -1 at the end
        if self.mode == "od":
            return (1.0, 0.0) if memory.get("raising", 0.0) else (0.0, 1.0) if "raising" in memory else (0.0, 0.0)
        if lam > 0:
            return (lam, 0.0) if self.mode == "id" else (1 - lam, 0.0)
        return (0.0 if self.mode == "id" else 1.0), 1 + lam

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        step, entropy = int(memory.get("step", 0)) + 1, summary.mean("entropy")
        now = {"step": float(step), "initial": memory.get("initial", entropy)}
        if self.mode == "od":
            low = self.floor * now["initial"]
            high = low + (now["initial"] - low) * max(1 - step / self.steps, 0.0)
            before = memory.get("raising", 0.0)
            now["raising"] = 1.0 if entropy <= low else 0.0 if entropy > high else before
        return now


flexible_clip = register(FlexibleClip)
