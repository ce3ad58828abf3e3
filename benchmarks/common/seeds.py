"""Numbers of several seeds taken together."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median, stdev
from typing import Any


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean and standard deviation of the values there are, and each of them in the order of the seeds, None included."""
    known = [value for value in values if value is not None]
    each = {"each": [value if value is None else round(value, 5) for value in values]}
    if not known:
        return each
    return {"mean": round(fmean(known), 5), "sd": round(stdev(known), 5) if len(known) > 1 else None} | each


def middle(times: Sequence[float | None]) -> float | None:
    """The median settling time, where a run that does not settle has the longest of all; None where most do not."""
    value = median([float("inf") if time is None else time for time in times])
    return None if value == float("inf") else value
