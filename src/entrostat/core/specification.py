"""A method from plain values, as a configuration file gives them.

A knob may be a number, or a mapping of one key that names a schedule or a controller; the levels of a target may be
fractions of the entropy that the policy starts with:

    target: {linear: {start: 0.6, end: 0.3, steps: 100}}
    target: {cosine: {start: initial, end: 0.5 * initial, steps: 100}}
    controller: {pi: {target: 0.2, kp: 5, ki: 0.2}}
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from entrostat.control import (
    PI,
    Band,
    Constant,
    Cosine,
    Initial,
    Linear,
    P,
    Piecewise,
    SelfTuning,
    Step,
    decrease_increase_decrease,
    entrocraft_band,
    hold_then_decay,
    increase_then_decrease,
    oscillating_decay,
)
from entrostat.control.schedules import fraction_in
from entrostat.core.config import blame, did_you_mean
from entrostat.errors import ConfigError
from entrostat.methods import Chain, factory, names
from entrostat.methods.registry import as_chain

KINDS: dict[str, Callable[..., Any]] = {
    "constant": Constant,
    "linear": Linear,
    "cosine": Cosine,
    "piecewise": Piecewise,
    "initial": Initial,
    "band": Band,
    "increase_then_decrease": increase_then_decrease,
    "decrease_increase_decrease": decrease_increase_decrease,
    "oscillating_decay": oscillating_decay,
    "hold_then_decay": hold_then_decay,
    "entrocraft_band": entrocraft_band,
    "p": P,
    "pi": PI,
    "step": Step,
    "self_tuning": SelfTuning,
}


def build_method(name: str, options: Mapping[str, Any]) -> Chain:
    """The preset `name` with its options; `ConfigError` names the dotted key of what is wrong."""
    try:
        build = factory(name)
    except ConfigError as error:
        raise ConfigError(f"method.name: {error}") from error
    return as_chain(name, _call(build, options, "method"))


def make(name: str, **options: object) -> Chain:
    """A published method by name with its options, as a configuration file gives them.

    Raises:
        ConfigError: an unknown name or option (the message lists what there is), a missing or a bad value.
    """
    return build_method(name, options)


def with_default_target(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options, holding what the policy starts with where the preset needs a target and none is given."""
    if name not in names() or "target" in options:
        return dict(options)
    parameter = inspect.signature(factory(name)).parameters.get("target")
    if parameter is None or parameter.default is not inspect.Parameter.empty:
        return dict(options)
    # A controller brings its own target; the preset's is then not read.
    return {"target": None if "controller" in options else "initial", **options}


def _call(build: Callable[..., Any], options: Mapping[str, Any], where: str) -> Any:
    parameters = inspect.signature(build).parameters
    known = [name for name in parameters if name != "action"]
    for key in options:
        if key not in known:
            raise ConfigError(f"{where}.{key}: unknown key{did_you_mean(str(key), known)}; it takes {known or 'none'}")
    for name in known:
        if parameters[name].default is inspect.Parameter.empty and name not in options:
            raise ConfigError(f"{where}.{name}: is needed and not given")
    values = {key: _value(value, f"{where}.{key}") for key, value in options.items()}
    try:
        return build(**values)
    except (TypeError, ValueError) as error:
        raise blame(where, options, error) from error


def _value(value: Any, where: str) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_value(item, where) for item in value)
    if isinstance(value, str):
        return _level(value, where)
    if not isinstance(value, Mapping):
        return value
    if len(value) != 1:
        raise ConfigError(
            f"{where}: name one schedule, band or controller, such as {{linear: {{...}}}}, got {dict(value)!r}"
        )
    ((kind, options),) = value.items()
    if kind not in KINDS:
        raise ConfigError(f"{where}.{kind}: unknown{did_you_mean(str(kind), list(KINDS))}; choose from {list(KINDS)}")
    if not isinstance(options, Mapping):
        raise ConfigError(f"{where}.{kind}: give its settings as a mapping, got {options!r}")
    return _call(KINDS[kind], options, f"{where}.{kind}")


def _level(text: str, where: str) -> Any:
    """A fraction of the initial entropy from its words; any other text is what it is."""
    try:
        fraction = fraction_in(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return text if fraction is None else _call(Initial, {"fraction": fraction}, where)
