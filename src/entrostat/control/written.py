"""Schedules, bands and controllers as a configuration file writes them: a mapping of one key that names the kind.

{linear: {start: 0.6, end: 0.3, steps: 100}}
{cosine: {start: initial, end: 0.5 * initial, steps: 100}}
{pi: {target: 0.2, kp: 5, ki: 0.2}}
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from entrostat.control.fractions import fraction_in
from entrostat.control.patterns import (
    decrease_increase_decrease,
    entrocraft_band,
    hold_then_decay,
    increase_then_decrease,
    oscillating_decay,
)
from entrostat.control.pi import PI, P
from entrostat.control.schedules import Constant, Cosine, Initial, Linear, Piecewise
from entrostat.control.self_tuning import SelfTuning
from entrostat.control.step import Step
from entrostat.control.targets import Band
from entrostat.errors import ConfigError, blame, did_you_mean

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


def called(build: Callable[..., Any], options: Mapping[str, Any], where: str) -> Any:
    """What `build` makes of options that are written; `ConfigError` names the dotted key of what is wrong."""
    parameters = inspect.signature(build).parameters
    known = [name for name in parameters if name != "action"]
    for key in options:
        if key not in known:
            raise ConfigError(f"{where}.{key}: unknown key{did_you_mean(str(key), known)}; it takes {known or 'none'}")
    for name in known:
        if parameters[name].default is inspect.Parameter.empty and name not in options:
            raise ConfigError(f"{where}.{name}: is needed and not given")
    values = {key: read(value, f"{where}.{key}") for key, value in options.items()}
    try:
        return build(**values)
    except (TypeError, ValueError) as error:
        raise blame(where, options, error) from error


def read(value: Any, where: str) -> Any:
    """A value as it is written: a mapping becomes what it names, words an `Initial`; anything else is what it is."""
    if isinstance(value, list | tuple):
        return tuple(read(item, where) for item in value)
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
    return called(KINDS[kind], options, f"{where}.{kind}")


def _level(text: str, where: str) -> Any:
    """A fraction of the initial entropy from its words; any other text is what it is."""
    try:
        fraction = fraction_in(text)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return text if fraction is None else called(Initial, {"fraction": fraction}, where)
