"""Values that depend on the optimizer step: targets, coefficients, clip ranges.

A schedule is a frozen record with `at(step) -> float`. Steps count optimizer steps from 0. Before its first and after
its last point a schedule keeps the value there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from entrostat.errors import ConfigError


@runtime_checkable
class Schedule(Protocol):
    """Anything with a value at each optimizer step."""

    def at(self, step: int) -> float: ...


def _finite(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def _steps(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"steps must be a whole number of optimizer steps, at least 1, got {value!r}")
    return value


def _point(point: Sequence[float]) -> tuple[int, float]:
    if not isinstance(point, Sequence) or len(point) != 2 or not isinstance(point[0], int):
        raise ConfigError(f"points must be pairs of a whole step and a value, got {point!r}")
    return int(point[0]), _finite("value", point[1])


@dataclass(frozen=True)
class Constant:
    """The same value at every step."""

    value: float

    def __post_init__(self) -> None:
        _finite("value", self.value)

    def at(self, step: int) -> float:
        return float(self.value)


@dataclass(frozen=True)
class Linear:
    """From `start` at step 0 to `end` at step `steps`, in a straight line."""

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _finite("start", self.start), _finite("end", self.end), _steps(self.steps)

    def at(self, step: int) -> float:
        progress = min(max(step / self.steps, 0.0), 1.0)
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class Cosine:
    """From `start` at step 0 to `end` at step `steps`, along half a cosine: flat at both ends."""

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _finite("start", self.start), _finite("end", self.end), _steps(self.steps)

    def at(self, step: int) -> float:
        progress = min(max(step / self.steps, 0.0), 1.0)
        return self.start + (self.end - self.start) * 0.5 * (1.0 - math.cos(math.pi * progress))


@dataclass(frozen=True)
class Piecewise:
    """Straight lines through `points`, pairs of (step, value) with steps rising.

    A jump is written as two points one step apart.
    """

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        points = tuple(_point(point) for point in self.points)
        if not points:
            raise ConfigError("points must name at least one (step, value) pair, got none")
        if any(later[0] <= earlier[0] for earlier, later in itertools.pairwise(points)):
            raise ConfigError(f"steps of the points must rise, got {[step for step, _ in points]}")
        object.__setattr__(self, "points", points)

    def at(self, step: int) -> float:
        before = self.points[0]
        for after in self.points:
            if step < after[0]:
                if after is self.points[0]:
                    return after[1]
                progress = (step - before[0]) / (after[0] - before[0])
                return before[1] + (after[1] - before[1]) * progress
            before = after
        return before[1]


def as_schedule(value: float | Schedule) -> Schedule:
    """A number becomes a `Constant`; a schedule stays what it is."""
    return value if isinstance(value, Schedule) else Constant(_finite("value", value))
