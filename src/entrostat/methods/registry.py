"""Published methods by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from entrostat.errors import ConfigError
from entrostat.methods.base import Source
from entrostat.methods.chain import Chain

Factory = Callable[..., Chain]
_FACTORIES: dict[str, Factory] = {}
_SOURCES: dict[str, Source] = {}


def preset(source: Source) -> Callable[[Factory], Factory]:
    """Register a function that returns a chain under its own name, with its source."""

    def register(factory: Factory) -> Factory:
        _FACTORIES[factory.__name__] = factory
        _SOURCES[factory.__name__] = source
        return factory

    return register


def names() -> list[str]:
    """The names of all presets."""
    return sorted(_FACTORIES)


def source(name: str) -> Source:
    """Where a preset comes from."""
    _check(name)
    return _SOURCES[name]


def factory(name: str) -> Factory:
    """The function behind a preset."""
    _check(name)
    return _FACTORIES[name]


def make(name: str, **options: Any) -> Chain:
    """A preset by name with its options, as a configuration file gives them.

    Raises:
        ConfigError: an unknown name or option (the message lists what there is), a missing or a bad value.
    """
    build = factory(name)
    signature = inspect.signature(build)
    if unknown := sorted(set(options) - set(signature.parameters)):
        close = difflib.get_close_matches(unknown[0], signature.parameters, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(f"method {name!r} has no option {unknown[0]!r}{hint}: it takes {list(signature.parameters)}")
    required = [p.name for p in signature.parameters.values() if p.default is inspect.Parameter.empty]
    if missing := [p for p in required if p not in options]:
        raise ConfigError(f"method {name!r} needs {missing[0]!r}")
    try:
        return build(**options)
    except TypeError as error:
        raise ConfigError(f"method {name!r} cannot be built from {options!r}: {error}") from error


def _check(name: str) -> None:
    if name not in _FACTORIES:
        close = difflib.get_close_matches(str(name), _FACTORIES, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(f"unknown method {name!r}{hint}: choose from {names()}")
