"""A setting as a configuration file has it."""

from __future__ import annotations

from enum import Enum
from typing import Any

from entrostat.control.schedules import Initial


def in_words(value: Any) -> str:
    """The value as one would write it there: true, [-1, 1], 0.75 * initial; `not set` for None, `none` for what is empty."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return in_words(value.value)
    if isinstance(value, Initial):
        if value.over > 1:
            return f"{{initial: {{fraction: {in_words(value.fraction)}, over: {value.over}}}}}"
        return "initial" if value.fraction == 1 else f"{in_words(value.fraction)} * initial"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {in_words(each)}" for key, each in value.items()) or "none"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(in_words(each) for each in value)}]" if value else "none"
    return f"{value:g}" if isinstance(value, float) and value == float(f"{value:g}") else str(value)
