"""A chart of a report and its series as plain data.

A chart is a mapping: `id`, `title`, `note`, `kind` ("lines", "stack" or "points"), `x` and `y` (what the axes are), `series`.
A series: `name`, `run` (index), `x`, `y`, and how it is drawn: `dash`, `thin`, `dots`, `band` (lowest, highest), `color`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Chart = dict[str, Any]
STEP = "optimizer step"


def chart_of(id: str, title: str, y: str, series: list[dict[str, Any]], note: str, **more: Any) -> Chart:
    return {"id": id, "title": title, "note": note, "kind": "lines", "x": STEP, "y": y, "series": series} | more


def line(run: int, name: str, x: Any, y: Any, *, band: tuple[Any, Any] | None = None, **style: Any) -> dict[str, Any]:
    drawn = {key: value for key, value in style.items() if value is not False}
    found: dict[str, Any] = {"name": name, "run": run, "x": _numbers(x), **drawn}
    if y is not None:
        found["y"] = _numbers(y)
    if band is not None:
        found["band"] = [_numbers(band[0]), _numbers(band[1])]
    return found


def _numbers(values: Any) -> list[float | int | None]:
    """Six significant digits; whole numbers without a point; null where JSON has no number."""
    return [
        None
        if not np.isfinite(value)
        else int(value)
        if value == int(value) and abs(value) < 1e15
        else float(f"{value:.6g}")
        for value in np.asarray(values, dtype=float).tolist()
    ]


def sampled(x: Any, y: Any, most: int) -> tuple[Any, Any]:
    """Every n-th point, where there are too many."""
    every = max(1, -(-len(x) // most))
    return x[::every], y[::every]
