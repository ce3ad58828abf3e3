"""STARE: below a target entropy, the most surprising tokens of positive samples count more.

weight = up on the `share` largest -log p among A > 0, down on those among A < 0, while H < target; else 1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from entrostat.control import Knob
from entrostat.control.targets import Target, aim, as_target
from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.methods.scopes import in_top
from entrostat.types import Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class Stare(Link):
    """Multiply the loss of the `share` most surprising tokens with A > 0 by `up`, with A < 0 by `down`, below the target.

    Args:
        target: entropy [nats per token]; at or above it nothing is weighted.
        up: weight of surprising tokens of positive samples; a `Step(target, 0.01, (1, 1.5), 1, gated=False)` is the release's
            adaptive form.
        down: weight of surprising tokens of negative samples; 1 leaves them alone.
        share: share of the tokens of each sign that is weighted.
        scope: tokens over which the share is taken: "micro" or "step".
    """

    target: Target = 0.3
    up: Knob = 1.1
    down: Knob = 1.0
    share: float = 0.1
    scope: Literal["micro", "step"] = "micro"

    card: ClassVar[Card] = Card(
        "stare",
        effect="raises",
        writes=("weight_BT",),
        knobs={"up": "raise", "down": "lower"},
        bounds={"up": "[0, inf)", "down": "[0, inf)"},
        notes=("one-sided: above the target it is plain training",),
        pools=("positive", "negative"),
        source=Source(
            "2606.19236",
            "Sections 4.2 (O1) and 4.3 (C2); hp-luo/STARE",
            "target 0.3, up 1.1, down 1 (O1), a tenth of the tokens of the micro-batch",
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "target", as_target(self.target))

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        if self.scope == "micro":
            return {}
        surprisal, a = batch.stats.surprisal.detach(), surrogate.advantages_BT
        return {"positive": surprisal[batch.mask & (a > 0)], "negative": surprisal[batch.mask & (a < 0)]}

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        a = surrogate.advantages_BT
        weight = torch.ones_like(a)
        if state.memory.get("below", 1.0):
            for sign, mask, knob in (("positive", a > 0, "up"), ("negative", a < 0, "down")):
                mask = batch.mask & mask
                top = in_top(batch.stats.surprisal, mask, self.top, self.scope, batch, state.memory.get(sign))
                weight = torch.where(top, torch.as_tensor(state.knobs[knob].output, dtype=a.dtype), weight)
        return replace(surrogate, weight_BT=weight)

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        step = int(memory.get("step", 0))
        goal = aim(self.target, step, summary.mean("entropy"), memory.get("initial", 0.0))
        gate = {"step": step + 1, "initial": goal.initial, "below": float(goal.error < 0)}
        return {**super().remember(summary, memory), **gate}


stare = register(Stare)
