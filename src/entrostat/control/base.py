"""What a controller is: two pure functions over a record of floats.

`init()` gives the state before the first measurement, `step(state, measured)` the state after one more. The state is a
frozen dataclass of floats and integers, so it is exact in JSON and equal on every rank; `state.output` is the controller's
output. This package imports nothing but the standard library.

Sign. The error is always `measured - target`, in nats per token. Whether a larger output lowers or raises the entropy depends on
the actuator, not on the controller. So the method that has the actuator says it (`action`), and `bind` writes it into the
controller.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from entrostat.control.numbers import as_float, bounded
from entrostat.errors import ConfigError, DataError, StateError

Action = Literal["lower", "raise"]
S = TypeVar("S")

CONTROLLER_METRICS = (
    "measured",
    "target",
    "error",
    "initial",
    "output",
    "effort",
    "saturated",
    "proportional",
    "integral_part",
    "feed_forward",
    "level",
    "drift",
    "gain",
    "gain_sd",
    "memory",
    "trend",
    "jumped",
    "identified",
    "reachable",
    "reach_low",
    "reach_high",
)
"""Fields of some controller's state that are logged; docs/methods/README.md explains each."""


@runtime_checkable
class Controller(Protocol):
    """A rule from measured entropy to an output; see the module's docstring."""

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest output that it can command."""
        ...

    def init(self) -> Any: ...

    def step(self, state: Any, measured: float) -> Any: ...


def check_measured(measured: float) -> None:
    """Refuse a measurement that is not a finite number, before any state moves."""
    if not math.isfinite(measured):
        raise DataError(
            f"measured entropy is {measured}: the policy's logits hold NaN or infinity. The controller's state "
            "was left as it was; go on from the last checkpoint with a lower learning rate or gradient clipping"
        )


def check_limits(limits: tuple[float, float], start: float, what: str) -> tuple[float, float]:
    """The limits of an output as floats; `ConfigError` where they are out of order or do not hold its start."""
    given = limits if isinstance(limits, Sequence) and not isinstance(limits, str) else ()
    pair = [limit for each in given if (limit := as_float(each)) is not None and not math.isnan(limit)]
    if len(given) != 2 or len(pair) != 2:
        raise ConfigError(f"limits must be two numbers, the lowest and the highest {what}, as (-1, 1), got {limits!r}")
    if pair[0] > pair[1]:
        raise ConfigError(
            f"limits must be (lowest, highest) {what}: {pair[0]:g} is above {pair[1]:g}. Write ({pair[1]:g}, {pair[0]:g})"
        )
    low, high = pair
    first = as_float(start)
    if first is None or not low <= first <= high:
        raise ConfigError(
            f"start must lie within limits {(low, high)}, got {start!r}: it is the output before the first measurement. Choose "
            "limits around it, or another start"
        )
    return bounded("the lower of the limits", low), bounded("the upper of the limits", high)


def check_range(limits: tuple[float, float]) -> None:
    """Refuse limits that are equal or infinite."""
    low, high = limits
    for name, limit in (("lower", low), ("upper", high)):
        if math.isinf(limit):
            raise ConfigError(
                f"limits must be finite, but the {name} one is {limit}: a self-tuning controller computes what its limits "
                "can reach. Give two numbers, as (-1, 1)"
            )
    if low == high:
        raise ConfigError(
            f"limits must be two different numbers, but both are {low:g}, so the output could not move. Give a lower and a "
            f"higher number, as ({low - 1:g}, {high + 1:g}), or the number {low:g} itself in place of a controller"
        )


def bind(controller: Any, action: Action, owner: str) -> Any:
    """A copy of the controller that knows whether a larger output raises or lowers the entropy."""
    declared = getattr(controller, "action", None)
    if declared is not None and declared != action:
        raise ConfigError(
            f"a larger {owner} {action}s the entropy, but its controller says action={declared!r}. "
            "Leave action unset: the method knows it"
        )
    if any(field.name == "action" for field in dataclasses.fields(controller)):
        return dataclasses.replace(controller, action=action)
    return controller


def to_dict(state: Any) -> dict[str, Any]:
    """A controller's state as plain JSON values."""
    return dataclasses.asdict(state)


def from_dict(template: S, values: Mapping[str, Any]) -> S:
    """The inverse of `to_dict`; `template` is the controller's `init()`.

    Raises `StateError` when a field is missing, unknown, of another type or not finite, or when the controller's own `check`
    says that the state is impossible.
    """
    fields = {field.name: getattr(template, field.name) for field in dataclasses.fields(template)}  # type: ignore[arg-type]
    if set(fields) != set(values):
        raise StateError(
            f"the saved state of {type(template).__name__} does not fit this version: "
            f"it lacks {sorted(set(fields) - set(values))} and has unknown {sorted(map(str, set(values) - set(fields)))}. "
            "Resume with the version that wrote it, or start a new run from its weights: the controller learns again within "
            "a settling time or two"
        )
    for name, default in fields.items():
        value = values[name]
        whole = isinstance(default, int)
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(as_float(value) or 0):
            kind = "a whole number" if whole else "a finite number"
            raise StateError(f"the saved state of {type(template).__name__} has {name} = {value!r}, expected {kind}")
    state = type(template)(**{n: type(default)(values[n]) for n, default in fields.items()})
    if (steps := getattr(state, "steps", 0)) < 0:
        raise StateError(f"the saved state of {type(template).__name__} has steps = {steps}, expected zero or more")
    if wrong := getattr(state, "impossible", None):
        raise StateError(
            f"the saved state of {type(template).__name__} cannot be right: {wrong}. Use an earlier checkpoint's"
        )
    return state
