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


def fingerprint(method: Any) -> str:
    """A short hash of everything that makes a method what it is: a saved state belongs to one fingerprint."""
    text = json.dumps(describe(method), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
