"""Targets: where the entropy should be at each optimizer step.

A target is a number of nats per token, a fraction of the entropy that the policy starts with (`Initial`), a schedule
through such levels, or a `Band` between two of them. `aim` turns it into what a controller needs at one step: the entropy to go
to, the error, and the slope.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from entrostat.control.fractions import suggestion
from entrostat.control.numbers import as_float, bounded
from entrostat.control.schedules import Initial, Level, Schedule, as_level, value_of
from entrostat.errors import ConfigError

_LOOKS = 5000
_LEVEL = (float, int, Initial)  # asked before whether a thing is a Schedule, which is far slower to tell


@dataclass(frozen=True)
class Band:
    """A range: between `low` and `high` the error is 0, outside it is the distance to the nearer edge.

    Args:
        low, high: the edges; numbers, fractions of the initial entropy (`Initial(0.75)`, or in words "0.75 * initial"),
            or schedules of either.

    Raises:
        ConfigError: the edges cross at some step. If one edge is a number and the other a fraction of the initial entropy, this
            can only be checked during the run.
    """

    low: Level | Schedule | str
    high: Level | Schedule | str

    def __post_init__(self) -> None:
        for name, edge in (("low", self.low), ("high", self.high)):
            if isinstance(edge, Band):
                raise ConfigError(f"{name} must be one edge of the band, a number or a schedule, got {edge!r}")
            object.__setattr__(self, name, _plain(name, edge))
        check_target(self)
        kinds = {isinstance(level, Initial) for level in levels(self)}
        if len(kinds) == 1:  # the size of the initial entropy cannot change which edge is above
            for step in _looked_at(*self.edges):
                _edges(self, step, 1.0)

    @property
    def edges(self) -> tuple[Level | Schedule, Level | Schedule]:
        """The lower and the upper edge; one that was given in words is an `Initial`."""
        return self.low, self.high  # type: ignore[return-value]  # made so above; the fields' types do not say it


Target: TypeAlias = Level | Schedule | Band
TargetLike: TypeAlias = Target | str | Mapping[str, Any]
"""In words "initial" and "0.75 * initial" are an `Initial`; a mapping is one of a configuration file: {"linear": {...}}."""


@dataclass(frozen=True)
class Aim:
    """A target as one optimizer step sees it, in nats per token.

    `value` is the entropy to go to (of a band the nearest within it), `error` is measured - value, `slope` how much
    `value` changes until the next step, `initial` the entropy that the policy started with, as known by now.
    """

    value: float
    error: float
    slope: float
    initial: float


def aim(target: TargetLike, step: int, measured: float, initial: float = 0.0) -> Aim:
    """What a target asks of the controller that has measured an entropy at an optimizer step.

    Args:
        target: checked by `check_target`.
        step: optimizer steps before this one.
        measured: exact mean entropy of this step's batch [nats per token].
        initial: `Aim.initial` of the step before; the first step does not read it.

    Raises:
        ConfigError: the target is below zero at this step, or the edges of a band cross.
    """
    if isinstance(target, str | Mapping):  # a controller has made it an `Initial`; its field's type does not say so
        target = as_target(target)
    if step == 0:
        initial = measured
    elif step < _averaged_over(target):
        initial += (measured - initial) / (step + 1)
    low, high = _edges(target, step, initial)
    if low == high:
        place, value = 0.0, low
    else:
        value = min(max(measured, low), high)
        place = (value - low) / (high - low)
    return Aim(value, measured - value, _slope(target, step, initial, place), initial)


def slope_at(target: Target, step: int, initial: float | None = None) -> float:
    """How much the target changes until the next step [nats per step]; of a band, its middle.

    Args:
        initial: the entropy that the policy started with; needed where a level is a fraction of it.
    """
    return _slope(target, step, initial, 0.5)


def target_at(target: Target, step: int, initial: float | None = None) -> float:
    """The target at an optimizer step [nats per token]; of a band, its middle. `ConfigError` where it is below zero."""
    low, high = _edges(target, step, initial)
    return low if low == high else 0.5 * (low + high)


def levels(target: Target) -> tuple[Level, ...]:
    """The levels that a target leads through: it never leaves the range between the lowest and the highest.

    Of a schedule that does not tell its levels, its value at step 0.
    """
    if isinstance(target, Band):
        low, high = target.edges
        return levels(low) + levels(high)
    if not isinstance(target, _LEVEL) and isinstance(target, Schedule):
        known: tuple[Level, ...] | None = getattr(target, "levels", None)
        return (target.at(0),) if known is None else known
    return (target,)


def is_relative(target: Target) -> bool:
    """Whether a level is a fraction of the initial entropy."""
    return any(isinstance(level, Initial) for level in levels(target))


def as_target(target: Any) -> Target:
    """The target, its level as a float or an `Initial` where it came as another library's number or in words.

    Raises:
        ConfigError: no target, or one that leads below zero; see `check_target`.
    """
    target = _plain("target", target)
    check_target(target)
    return target


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return as_level(name, value) if "initial" in value else value
    if isinstance(value, Mapping):
        from entrostat.control.written import read  # which knows the bands of this file

        return read(value, name)
    if isinstance(value, type):
        raise ConfigError(f"{name} is the class {value.__name__}, not an object: write {value.__name__}(...)")
    found = as_float(value)
    return value if found is None else found


def check_target(target: Any) -> None:
    """Refuse what is not a target, and a target below zero: no distribution has such an entropy.

    Raises:
        ConfigError: also where two levels measure the initial entropy over different numbers of steps.
    """
    for level in levels(target):
        if isinstance(level, Initial):
            continue
        if isinstance(level, bool) or not isinstance(level, int | float) or not math.isfinite(level) or level < 0:
            raise ConfigError(
                f"target entropy must be {_what(level)}, got {level!r}"
                + (f" in {target}" if level is not target else "")
                + _suggestion(level)
            )
        bounded("target entropy", level)
    overs = sorted({level.over for level in levels(target) if isinstance(level, Initial)})
    if len(overs) > 1:
        raise ConfigError(
            f"all levels of a target must have the same `over`, the steps that measure the initial entropy; got {overs}: {target}"
        )


def _what(level: Any) -> str:
    """What a target may be, as far as it helps who has given this."""
    if isinstance(level, int | float) and not isinstance(level, bool):
        return "a finite number of nats per token, zero or more"
    return 'a number of nats per token, a share of the entropy at the start ("0.75 * initial"), a schedule or a Band'


def _suggestion(level: Any) -> str:
    if isinstance(level, list | tuple) and len(level) == 2:
        return f": a range is a Band{tuple(level)!r}, in YAML {{band: {{low: {level[0]}, high: {level[1]}}}}}"
    if hasattr(level, "init") and hasattr(level, "step"):
        return ": it is a controller, which has a target of its own: give it as controller=..."
    if level is None or isinstance(level, int | float):
        return ". To train without control, use the method 'observe'"
    return suggestion(level)


def _averaged_over(target: Target) -> int:
    return max((level.over for level in levels(target) if isinstance(level, Initial)), default=1)


def _looked_at(*edges: Level | Schedule) -> set[int]:
    """Steps at which edges are compared: every one, of long schedules some thousands and the points of straight lines."""
    last = max(getattr(edge, "horizon", 0) for edge in edges)
    points = {step for edge in edges for step, _ in getattr(edge, "points", ()) if step >= 0}
    return {*range(0, last, max(1, last // _LOOKS)), last, *points}


def _slope(target: Target, step: int, initial: float | None, place: float) -> float:
    """Of the point that lies at `place` between the edges of a band, 0 at the lower one, and moves along with them."""
    if not isinstance(target, Band):
        return 0.0 if isinstance(target, _LEVEL) else _at(target, step + 1, initial) - _at(target, step, initial)
    low, high = (_slope(edge, step, initial, 0.0) for edge in target.edges)
    return low + place * (high - low)


def _edges(target: Target, step: int, initial: float | None) -> tuple[float, float]:
    if not isinstance(target, Band):
        value = _at(target, step, initial)
        return value, value
    low, high = (_at(edge, step, initial) for edge in target.edges)
    if low > high:
        raise ConfigError(f"the band is empty at step {step}: low is {low} nats, high {high}. Band: {target}")
    return low, high


def _at(edge: Level | Schedule, step: int, initial: float | None) -> float:
    if isinstance(edge, _LEVEL):
        return value_of(edge, initial)
    # A schedule from outside knows nothing of an initial entropy.
    value = edge.at(step, initial) if hasattr(edge, "levels") else edge.at(step)  # type: ignore[call-arg]
    if not math.isfinite(value) or value < 0:
        raise ConfigError(f"target entropy is {value} nats at step {step}: it must be zero or more. Schedule: {edge}")
    return value
