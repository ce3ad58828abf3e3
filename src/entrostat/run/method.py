"""A method from plain values, as a configuration file gives them.

A knob may be a number, or a mapping of one key that names a schedule or a controller:

    target: {linear: {start: 0.6, end: 0.3, steps: 100}}
    controller: {pi: {target: 0.2, kp: 5, ki: 0.2}}
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from entrostat.control import PI, Constant, Cosine, Linear, P, Piecewise, Step
from entrostat.errors import ConfigError
from entrostat.methods import Chain, factory, names
from entrostat.run.config import blame, did_you_mean

INITIAL = "initial"
"""As a target: the entropy that the policy starts with."""

KINDS: dict[str, Callable[..., Any]] = {
    "constant": Constant,
    "linear": Linear,
    "cosine": Cosine,
    "piecewise": Piecewise,
    "p": P,
    "pi": PI,
    "step": Step,
}


def build_method(name: str, options: Mapping[str, Any]) -> Chain:
    """The preset `name` with its options; `ConfigError` names the dotted key of what is wrong."""
    try:
        build = factory(name)
    except ConfigError as error:
        raise ConfigError(f"method.name: {error}") from error
    chain: Chain = _call(build, options, "method")
    return chain


def with_default_target(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options, holding what the policy starts with where the preset needs a target and none is given."""
    if name not in names() or "target" in options:
        return dict(options)
    parameter = inspect.signature(factory(name)).parameters.get("target")
    if parameter is None or parameter.default is not inspect.Parameter.empty:
        return dict(options)
    # A controller brings its own target; the preset's is then not read.
    return {"target": None if "controller" in options else INITIAL, **options}


def names_initial(value: Any) -> bool:
    """Whether a target somewhere in these options is `initial`."""
    if isinstance(value, Mapping):
        return any((key == "target" and each == INITIAL) or names_initial(each) for key, each in value.items())
    return False


def with_initial(value: Any, entropy: float) -> Any:
    """The same options with the entropy in place of every `target: initial`."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: entropy if key == "target" and each == INITIAL else with_initial(each, entropy)
        for key, each in value.items()
    }


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
    if not isinstance(value, Mapping):
        return value
    if len(value) != 1:
        raise ConfigError(f"{where}: name one schedule or controller, such as {{linear: {{...}}}}, got {dict(value)!r}")
    ((kind, options),) = value.items()
    if kind not in KINDS:
        raise ConfigError(f"{where}.{kind}: unknown{did_you_mean(str(kind), list(KINDS))}; choose from {list(KINDS)}")
    if not isinstance(options, Mapping):
        raise ConfigError(f"{where}.{kind}: give its settings as a mapping, got {options!r}")
    return _call(KINDS[kind], options, f"{where}.{kind}")
