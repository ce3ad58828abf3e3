"""Values that depend on the optimizer step: targets, coefficients, clip ranges.

A schedule is a frozen record with `at(step) -> float`. Steps are optimizer steps from 0. Before its first and after its last
point a schedule keeps the value of that point.

The values that a schedule leads through are its `levels`. In a target a level may also be a fraction of the entropy that the
policy starts with, `Initial(0.5)`. A controller then passes that entropy to `at` as `initial`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from entrostat.control.fractions import fraction_in, suggestion
from entrostat.control.numbers import as_float, number, whole
from entrostat.errors import ConfigError


@dataclass(frozen=True)
class Initial:
    """A fraction of the entropy that the policy starts with, measured by the controller itself.

    Args:
        fraction: 1 is that entropy, 0.5 half of it.
        over: number of first optimizer steps whose mean is the start; until then, the mean so far. One large batch is best, since
            the policy has not moved yet; small batches are noisy, so take several.
    """

    fraction: float = 1.0
    over: int = 1

    def __post_init__(self) -> None:
        share = number("fraction", self.fraction, "a share of the initial entropy, zero or more", 0)
        object.__setattr__(self, "fraction", share)
        object.__setattr__(self, "over", whole("over", self.over, "a whole number of optimizer steps, at least 1"))

    def __mul__(self, factor: float) -> Initial:
        return Initial(self.fraction * number("a factor of Initial()", factor), self.over)

    __rmul__ = __mul__


Level: TypeAlias = float | Initial


@runtime_checkable
class Schedule(Protocol):
    """Anything with a value at each optimizer step. One whose values are known ahead also has `levels` and `horizon`."""

    def at(self, step: int) -> float: ...


def value_of(level: Level, initial: float | None) -> float:
    """A level as a number; `ConfigError` if it is a fraction of the initial entropy and that is not measured."""
    if not isinstance(level, Initial):
        return float(level)
    if initial is None:
        raise ConfigError(
            f"{level} is a fraction of the initial entropy, which only a controller's target can be: give a number"
        )
    return level.fraction * initial


@dataclass(frozen=True)
class Constant:
    """The same value at every step."""

    value: Level

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", as_level("value", self.value))

    @property
    def levels(self) -> tuple[Level, ...]:
        """The values between which it stays."""
        return (self.value,)

    @property
    def horizon(self) -> int:
        """The step from which on it does not change."""
        return 0

    def at(self, step: int, initial: float | None = None) -> float:
        return value_of(self.value, initial)


@dataclass(frozen=True)
class _Between:
    """Between two levels for a number of steps; a subclass says how."""

    start: Level
    end: Level
    steps: int

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            object.__setattr__(self, name, as_level(name, getattr(self, name)))
        object.__setattr__(self, "steps", whole("steps", self.steps, "a whole number of optimizer steps, at least 1"))

    @property
    def levels(self) -> tuple[Level, ...]:
        """The values between which it stays."""
        return (self.start, self.end)

    @property
    def horizon(self) -> int:
        """The step from which on it does not change."""
        return self.steps


@dataclass(frozen=True)
class _Ramp(_Between):
    """From one level to the other; a subclass says along which curve."""

    def at(self, step: int, initial: float | None = None) -> float:
        start, end = value_of(self.start, initial), value_of(self.end, initial)
        return start + (end - start) * self._share(min(max(step / self.steps, 0.0), 1.0))

    def _share(self, progress: float) -> float:
        raise NotImplementedError


@dataclass(frozen=True)
class Linear(_Ramp):
    """From `start` at step 0 to `end` at step `steps`, in a straight line."""

    def _share(self, progress: float) -> float:
        return progress


@dataclass(frozen=True)
class Cosine(_Ramp):
    """From `start` at step 0 to `end` at step `steps`, along half a cosine: flat at both ends."""

    def _share(self, progress: float) -> float:
        return 0.5 * (1.0 - math.cos(math.pi * progress))


@dataclass(frozen=True)
class Piecewise:
    """Straight lines through `points`, pairs of (step, value) with steps rising.

    A jump is written as two points one step apart.
    """

    points: tuple[tuple[int, Level], ...]

    def __post_init__(self) -> None:
        given: object = self.points
        if not isinstance(given, list | tuple):
            raise ConfigError(f"points must be (step, value) pairs, such as ((0, 0.6), (100, 0.3)), got {given!r}")
        points = tuple(_point(point) for point in given)
        if not points:
            raise ConfigError("points must name at least one (step, value) pair, got none")
        if any(later[0] <= earlier[0] for earlier, later in itertools.pairwise(points)):
            raise ConfigError(f"steps of the points must rise, got {[step for step, _ in points]}")
        object.__setattr__(self, "points", points)

    @property
    def levels(self) -> tuple[Level, ...]:
        """The values between which it stays."""
        return tuple(level for _, level in self.points)

    @property
    def horizon(self) -> int:
        """The step from which on it does not change."""
        return self.points[-1][0]

    def at(self, step: int, initial: float | None = None) -> float:
        before = self.points[0]
        for after in self.points:
            if step < after[0]:
                end = value_of(after[1], initial)
                if after is self.points[0]:
                    return end
                start, progress = value_of(before[1], initial), (step - before[0]) / (after[0] - before[0])
                return start + (end - start) * progress
            before = after
        return value_of(before[1], initial)


@dataclass(frozen=True)
class Oscillating(_Between):
    """From `start` down to `end` in a number of `descents`, up again between them, each time less far.

    The upper turns lie about the straight line from `start` to `end`, the lower ones at `end`; the way between is a cosine.
    From step `steps` on it rests at `end`.
    """

    descents: int

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "descents", whole("descents", self.descents, "a whole number, at least 1"))

    def at(self, step: int, initial: float | None = None) -> float:
        start, end = value_of(self.start, initial), value_of(self.end, initial)
        progress = min(max(step / self.steps, 0.0), 1.0)
        swing = 0.5 * (1.0 + math.cos((2 * self.descents - 1) * math.pi * progress))
        return end + (start - end) * (1.0 - progress) * swing


def as_level(name: str, value: Any) -> Level:
    """A number, or a fraction of the initial entropy, as an `Initial` or in words; `ConfigError` for anything else."""
    if isinstance(value, Initial):
        return value
    fraction = fraction_in(value) if isinstance(value, str) else None
    if fraction is not None:
        return Initial(fraction)
    if as_float(value) is None:
        raise ConfigError(
            f'{name} must be a number, or in a target a share of the initial entropy such as "0.5 * initial", '
            f"got {value!r}{suggestion(value)}"
        )
    return number(name, value)


def _point(point: Sequence[Level]) -> tuple[int, Level]:
    if isinstance(point, str) or not isinstance(point, Sequence) or len(point) != 2 or as_float(point[0]) is None:
        raise ConfigError(f"points must be pairs of a whole step and a value, got {point!r}")
    return whole("the step of a point", point[0], "a whole number", -(2**63)), as_level("value", point[1])
