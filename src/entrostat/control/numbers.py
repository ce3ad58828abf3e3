"""Checks of settings: numbers of any library become floats; anything else is refused, with the setting's name."""

from __future__ import annotations

import math
import numbers
import types
import typing
from typing import Any, Literal, Union

from entrostat.errors import ConfigError

LARGEST = 1e6
"""The largest size that a setting can be meant to have: one step then ends a run. Infinity, where it is taken, is no limit."""
_ENDS = (-math.inf, math.inf)  # of an interval, a controller's limits for instance


def as_float(value: Any) -> float | None:
    """A Python, NumPy or torch scalar as a float; None for anything else: a bool, a text, a tensor of several values."""
    if isinstance(value, bool | str | bytes):
        return None
    if not isinstance(value, numbers.Real):
        # Arrays and tensors of no dimension, which are not registered as numbers.
        if getattr(value, "shape", None) != () or "bool" in str(getattr(value, "dtype", "")):
            return None
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            return None
    try:
        return float(value)
    except OverflowError:  # a whole number beyond 1e308
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def number(
    name: str, value: Any, what: str = "a finite number", least: float = -math.inf, most: float = math.inf
) -> float:
    """The value as a finite float from `least` to `most`; `ConfigError` that names the setting and says what it must be."""
    found = as_float(value)
    if found is None or not (math.isfinite(found) and least <= found <= most):
        raise ConfigError(f"{name} must be {what}, got {value!r}")
    return bounded(name, found)


def bounded(name: str, value: float) -> float:
    """The value, refused where it is finite and larger than any setting can be meant to be."""
    if LARGEST < abs(value) < math.inf:
        raise ConfigError(f"{name} must be at most {LARGEST:,.0f} in size, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """The value as a bool; texts and numbers are refused, since 'false' and '0' would count as true."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    raise ConfigError(f"{name} must be true or false, got {value!r}")


def whole(name: str, value: Any, what: str, least: int = 1) -> int:
    """The value as an int of at least `least`; whole floats are refused, as a typing error."""
    fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not fits or int(value) < least:
        raise ConfigError(f"{name} must be {what}, got {value!r}")
    return int(value)


def as_kind(name: str, value: Any, kind: Any) -> Any:
    """The value as its annotation says: a bool, int, float, text, word of a few, tuple of floats, or None beside one of these.

    A value under any other annotation is left as it is.
    """
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType) and types.NoneType in inside and len(inside) == 2:
        return None if value is None else as_kind(name, value, inside[0])
    if kind is bool:
        return flag(name, value)
    if kind is int:
        return whole(name, value, "a whole number", -(2**63))
    if kind is float:
        return number(name, value)
    if kind is str and not isinstance(value, str):
        raise ConfigError(f"{name} must be text, got {value!r}")
    if origin is Literal:
        if not any(value == each and type(value) is type(each) for each in inside):
            raise ConfigError(f"{name} must be one of {inside}, got {value!r}")
    elif origin is tuple and set(inside) <= {float, ...}:
        count = "numbers" if ... in inside else f"{len(inside)} numbers"
        if not isinstance(value, list | tuple) or (... not in inside and len(value) != len(inside)):
            raise ConfigError(f"{name} must be {count}, such as {(0.0, 1.0)}, got {value!r}")
        return tuple(_end_or_number(name, each, f"{count}, such as {(0.0, 1.0)}", value) for each in value)
    return value


def _end_or_number(name: str, each: Any, what: str, among: Any) -> float:
    """One of a tuple's numbers, which may be an infinite end of an interval."""
    found = as_float(each)
    if found is None or math.isnan(found) or (math.isinf(found) and each not in _ENDS):
        raise ConfigError(f"{name} must be {what}, got {each!r} in {among!r}")
    return bounded(name, found)
