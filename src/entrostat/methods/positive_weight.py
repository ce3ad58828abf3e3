"""Positive-advantage reweighting: what correct samples count, from nothing to all, by a schedule or by the entropy.

loss of tokens with A > 0 times weight;   weight <- clip(weight -+ rate, 0, 1) below and above the target
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from entrostat.control import Knob, Piecewise, Step, TargetLike
from entrostat.control.numbers import whole
from entrostat.control.targets import as_target
from entrostat.methods.base import Link, MethodState
from entrostat.methods.chain import Chain
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset
from entrostat.types import Surrogate, TokenBatch

_SOURCE = Source(
    "2511.05993",
    "Section 5, three schedules of lambda",
    "by the entropy: below 0.2 nats lambda falls by 0.05 a step, above it rises by 0.05, within [0, 1], from 0",
    ("the rule by epochs is a schedule over optimizer steps here: give `weight` one",),
)


@dataclass(frozen=True)
class PositiveWeight(Link):
    """Multiply the loss of tokens with A > 0 by `weight`.

    Args:
        weight: 0 is negative samples alone, 1 plain, more than 1 favors correct samples; a number, a schedule or a controller.
    """

    weight: Knob

    card: ClassVar[Card] = Card(
        "positive_weight",
        writes=("weight_BT",),
        knobs={"weight": "lower"},
        bounds={"weight": "[0, inf)"},
        notes=("a long phase at 0 trains on negative samples alone, whose entropy drifts up without bound",),
    )

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        a = surrogate.advantages_BT
        return replace(surrogate, weight_BT=torch.ones_like(a).masked_fill(a > 0, state.knobs["weight"].output))


@preset(_SOURCE, effect="holds", replaces={"weight": ("target", "rate")})
def positive_reweighting(target: TargetLike = 0.2, rate: float = 0.05, weight: Knob | None = None) -> Chain:
    """Weigh correct samples less while the entropy is below its target.

    Args:
        target: entropy [nats per token].
        rate: change of the weight per optimizer step.
        weight: takes the place of the rule that target and rate make: a number, a schedule or a controller.
    """
    rule = Step(as_target(target), rate, (0.0, 1.0), 0.0, gated=False) if weight is None else weight
    return one("positive_reweighting", PositiveWeight(rule))


@preset(_SOURCE, effect="raises")
def positive_reweighting_staged(steps: int) -> Chain:
    """Negative samples alone for the first half of a run, then the weight of the others rises to 1 in a straight line.

    Args:
        steps: optimizer steps of the run.
    """
    whole("steps", steps, "the run's number of optimizer steps")
    half = max(steps // 2, 1)
    return one(
        "positive_reweighting_staged", PositiveWeight(Piecewise(((0, 0.0), (half, 0.0), (max(steps, half + 1), 1.0))))
    )
