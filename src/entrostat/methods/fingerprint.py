"""What makes a method what it is, in a few letters: a saved state belongs to one fingerprint."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Any

from entrostat.methods.record import Source


def describe(value: Any) -> Any:
    """A method, controller or schedule as plain JSON values that name its class and every setting.

    A number is a number: 1 and 1.0 describe one setting.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if type(value) is Source:
            return None
        settings = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__} | {k: v for k, v in settings.items() if v is not None}
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if isinstance(value, float):
        # JSON has no infinity, and a controller may have no limit.
        return str(value) if not math.isfinite(value) else int(value) if value.is_integer() else value
    return value


def differences(saved: Any, now: Any, where: str = "") -> list[str]:
    """What differs between two methods as `describe` gives them, a setting each: `coef.target was 0.3 and is 0.2`."""
    if isinstance(saved, dict) and isinstance(now, dict) and saved.get("kind") == now.get("kind"):
        keys = dict.fromkeys([*saved, *now])
        return [each for key in keys for each in differences(saved.get(key), now.get(key), f"{where}.{key}")]
    if isinstance(saved, list) and isinstance(now, list) and len(saved) == len(now):
        pairs = enumerate(zip(saved, now, strict=True))
        return [each for i, pair in pairs for each in differences(*pair, where if len(now) == 1 else f"{where}.{i}")]
    if saved == now:
        return []
    name = where.removeprefix(".links").removeprefix(".") or "the method"
    return [f"{name} was {_as_call(saved)} and is {_as_call(now)}"]


def _as_call(value: Any) -> str:
    """A described value as one would write it in Python: `Initial(fraction=0.75, over=1)`."""
    if isinstance(value, dict):
        settings = ", ".join(f"{key}={_as_call(each)}" for key, each in value.items() if key != "kind")
        return f"{value.get('kind', 'dict')}({settings})"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_call, value))}]"
    return "not set" if value is None else repr(value)


def fingerprint(method: Any) -> str:
    """A short hash of everything that makes a method what it is: a saved state belongs to one fingerprint."""
    text = json.dumps(describe(method), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
