"""What a method's record says that its settings may be, checked when one is made.

An interval is written as in mathematics, "(0, 1]"; a setting that is a knob must keep to it at every output that it may give.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from entrostat.control.knob import range_of
from entrostat.control.numbers import as_kind
from entrostat.errors import ConfigError

_F = TypeVar("_F", bound=Callable[..., Any])


def as_annotated(factory: _F, replaces: Mapping[str, tuple[str, ...]]) -> _F:
    """The same function, its arguments checked against their annotations first: 'false' is not True, '' is not 0.

    Those that another one `replaces` are refused beside it.
    """

    @functools.wraps(factory)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(factory).bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if (kind := _hints(factory).get(name)) is not None:
                bound.arguments[name] = as_kind(f"{factory.__name__}.{name}", value, kind)
        given = {name: value for name, value in bound.arguments.items() if value is not None}
        for name in replaces.keys() & given.keys():
            if beside := ", ".join(f"{other}={given[other]}" for other in replaces[name] if other in given):
                raise ConfigError(
                    f"{factory.__name__}: {beside} has no effect beside {name}, which takes its place: leave out one of the two"
                )
        return factory(*bound.args, **bound.kwargs)

    return call  # type: ignore[return-value]


def convert(owner: str, settings: Any, but: Mapping[str, Any]) -> None:
    """Each field of a frozen dataclass as its annotation says, those in `but` left alone; `ConfigError` names what is not."""
    cls: Any = type(settings)
    for name, kind in _hints(cls).items():
        if name in settings.__dataclass_fields__ and name not in but:
            object.__setattr__(settings, name, as_kind(f"{owner}.{name}", getattr(settings, name), kind))


@functools.cache
def _hints(owner: Any) -> dict[str, Any]:
    """The annotations; none where one names what only a type checker imports."""
    try:
        return typing.get_type_hints(owner)
    except NameError:
        return {}


def check(owner: str, bounds: Mapping[str, str], settings: Any) -> None:
    """Refuse a setting outside its interval; None stands for a default of its own.

    Raises:
        ConfigError: the message names the setting, the value, and what it may be.
    """
    for name, interval in bounds.items():
        value = getattr(settings, name)
        for each in () if value is None else range_of(value) if hasattr(value, "step") else (value,):
            if isinstance(each, bool) or not isinstance(each, int | float) or not _inside(each, interval):
                raise ConfigError(f"{owner}.{name} must be a number in {interval}, got {each!r}")


def _inside(value: float, interval: str) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below
