"""Knobs: any float setting of a method may be a number, a schedule, or a controller.

M methods and N controllers make M x N without further code: `entropy_bonus(coef=Step(...))` is Skywork's adaptive
entropy control, `clip_higher(eps_high=PI(...))` an adaptive upper clip range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from entrostat.control.base import Action, Controller, bind
from entrostat.control.numbers import as_float, bounded
from entrostat.control.schedules import Schedule
from entrostat.control.targets import is_relative
from entrostat.errors import ConfigError

Knob: TypeAlias = float | Schedule | Controller


@dataclass(frozen=True)
class OpenLoopState:
    """A knob that no measurement moves."""

    steps: int = 0
    output: float = 0.0


@dataclass(frozen=True)
class OpenLoop:
    """A number or a schedule as a controller that looks at no measurement."""

    setting: float | Schedule

    @property
    def limits(self) -> tuple[float, float]:
        return (-math.inf, math.inf)

    def _at(self, step: int) -> float:
        return self.setting.at(step) if isinstance(self.setting, Schedule) else float(self.setting)

    def init(self) -> OpenLoopState:
        return OpenLoopState(output=self._at(0))

    def step(self, state: OpenLoopState, measured: float) -> OpenLoopState:
        return OpenLoopState(steps=state.steps + 1, output=self._at(state.steps + 1))


def as_controller(knob: Knob, action: Action, owner: str) -> Any:
    """The controller behind a knob, bound to its actuator.

    Args:
        knob: a number, a schedule or a controller.
        action: what a larger value of this knob does to the entropy.
        owner: the knob's name, for messages.
    """
    if isinstance(knob, Mapping):
        from entrostat.control.written import read  # which knows the controllers, and they this file's neighbors

        knob = read(knob, owner)
    if isinstance(knob, type):
        raise ConfigError(f"{owner} is the class {knob.__name__}, not an object: write {knob.__name__}(...)")
    if isinstance(knob, Controller):
        return knob if isinstance(knob, OpenLoop) else bind(knob, action, owner)
    if isinstance(knob, Schedule):
        if is_relative(knob):
            raise ConfigError(
                f"{owner} must not name the initial entropy: only a target can be a fraction of it. Got {knob}"
            )
        return OpenLoop(knob)
    found = as_float(knob)
    if found is None or not math.isfinite(found):
        raise ConfigError(f"{owner} must be a finite number, a schedule or a controller, got {knob!r}")
    return OpenLoop(bounded(owner, found))


def range_of(controller: Controller) -> tuple[float, float]:
    """The outputs that it may give; of a number or a schedule, where it starts."""
    return controller.limits if is_feedback(controller) else (controller.init().output,) * 2


def is_feedback(controller: Controller) -> bool:
    """Whether a measurement moves it."""
    return not isinstance(controller, OpenLoop)


def reads_effect(controller: Any) -> bool:
    """Whether its `step` takes what the method knows beside the measurement: an `Effect`, and its standard error."""
    return bool(getattr(controller, "reads_effect", False))
