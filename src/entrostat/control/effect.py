"""The first-order effect of an actuator on one batch: the predicted change of entropy as a function of the output.

A controller that knows this curve asks for a change of entropy, and reads the output that makes it off the curve. The curve is
exact at the logits. With shared parameters it keeps its shape, times one factor that the controller estimates. Changes are
numbers without a unit, or in a unit that the method chooses.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

SPREAD = (1 / 16, 1 / 4)
"""Outputs at which the effect is computed, as shares of either limit, beside 0 and the limits themselves."""


def grid(limits: tuple[float, float]) -> tuple[float, ...]:
    """The outputs at which the effect is computed, in ascending order."""
    low, high = limits
    inner = {limit * share for limit in limits for share in SPREAD} | {0.0}
    return tuple(sorted({low, high} | {u for u in inner if low < u < high}))


@dataclass(frozen=True)
class Effect:
    """Predicted change of the mean entropy, linear between the outputs.

    Attributes:
        outputs: ascending, at least two.
        changes: at each of them.
        acting: at the output that acted on this batch.
    """

    outputs: tuple[float, ...]
    changes: tuple[float, ...]
    acting: float

    @property
    def lowest(self) -> float:
        return min(self.changes)

    @property
    def highest(self) -> float:
        return max(self.changes)

    @property
    def width(self) -> float:
        """Between the lowest and the highest change: 0 where the output moves nothing, as where every advantage is 0."""
        return self.highest - self.lowest

    def at(self, output: float) -> float:
        """The change at an output, beyond the ends that of the end."""
        return _between(self.outputs, self.changes, output)

    def output(self, change: float) -> float:
        """The output that makes this change, or the one that comes nearest.

        Where a curve turns back on itself, what lies behind the turn is passed over.
        """
        falls = self.changes[-1] < self.changes[0]
        rising = [-c for c in self.changes] if falls else list(self.changes)
        return _between(list(itertools.accumulate(rising, max)), self.outputs, -change if falls else change)


class Actuator(Protocol):
    """What the outputs do on this batch, as efforts, of which a positive one lowers the entropy.

    `low`, `high`: what the limits make of it. `direction`: 1 where a larger output is a larger effort, else -1.
    """

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    @property
    def direction(self) -> int: ...

    def of(self, output: float) -> float:
        """The effort that an output makes."""
        ...

    def output(self, effort: float, before: float) -> float:
        """The output of an effort; `before` where no output makes a difference."""
        ...

    def acted(self, output: float) -> float:
        """What the output did that acted on this batch."""
        ...


@dataclass(frozen=True)
class Straight:
    """Nothing is known of the effect: an effort is `unit` of output away from `rest`, with the actuator's sign."""

    limits: tuple[float, float]
    direction: int
    unit: float
    rest: float = 0.0

    @property
    def low(self) -> float:
        return min(map(self.of, self.limits))

    @property
    def high(self) -> float:
        return max(map(self.of, self.limits))

    def of(self, output: float) -> float:
        return self.direction * (output - self.rest) / self.unit

    def output(self, effort: float, before: float) -> float:
        return self.rest + self.direction * effort * self.unit

    acted = of


@dataclass(frozen=True)
class Curve:
    """An effort is a predicted fall of the entropy, in units of `unit`."""

    effect: Effect
    unit: float

    @property
    def low(self) -> float:
        return -self.effect.highest / self.unit

    @property
    def high(self) -> float:
        return -self.effect.lowest / self.unit

    @property
    def direction(self) -> int:
        return 1 if self.effect.changes[-1] < self.effect.changes[0] else -1

    def of(self, output: float) -> float:
        return -self.effect.at(output) / self.unit

    def output(self, effort: float, before: float) -> float:
        return self.effect.output(-effort * self.unit) if self.effect.width else before

    def acted(self, output: float) -> float:
        return -self.effect.acting / self.unit


def _between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """y at x on the line through the points, x ascending; of several points with one x, the first."""
    for (left, below), (right, above) in itertools.pairwise(zip(xs, ys, strict=True)):
        if x <= left:
            return below
        if x < right:
            return below + (above - below) * (x - left) / (right - left)
    return ys[-1]
