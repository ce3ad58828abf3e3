"""What a method's record says that its settings may be, checked when one is made.

An interval is written as in mathematics, "(0, 1]"; a setting that is a knob must keep to it at every output that it may give.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entrostat.control.knob import range_of
from entrostat.errors import ConfigError


def check(owner: str, bounds: Mapping[str, str], choices: Mapping[str, tuple[str, ...]], settings: Any) -> None:
    """Refuse a setting outside its interval or its choices; None stands for a default of its own.

    Raises:
        ConfigError: the message names the setting, the value, and what it may be.
    """
    for name, interval in bounds.items():
        value = getattr(settings, name)
        for each in () if value is None else range_of(value) if hasattr(value, "step") else (value,):
            if isinstance(each, bool) or not isinstance(each, int | float) or not _inside(each, interval):
                raise ConfigError(f"{owner}.{name} must be a number in {interval}, got {each!r}")
    for name, allowed in choices.items():
        if getattr(settings, name) not in allowed:
            raise ConfigError(f"{owner}.{name} must be one of {allowed}, got {getattr(settings, name)!r}")


def _inside(value: float, interval: str) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below
