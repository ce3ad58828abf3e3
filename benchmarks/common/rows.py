"""A study's rows outlive the folders that they were read from.

Run folders are large and stay where they were made; what is committed is a row of each. A study that goes on elsewhere keeps
the rows of runs that are not there, and names every machine that took part.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def earlier(path: Path) -> dict[str, Any]:
    """The results written before, empty where there are none."""
    return json.loads(path.read_text()) if path.exists() else {}


def with_earlier(rows: Iterable[Row], before: Iterable[Row], order: Iterable[Row]) -> list[Row]:
    """`rows`, and those of `before` of which there is no new one, in `order`.

    `order` names every run of the study by the same fields; a row whose run is not in the study any more is left out.
    """
    named = [dict(each) for each in order]
    fields = tuple(named[0])

    def key(row: Row) -> tuple[Any, ...]:
        return tuple(row[field] for field in fields)

    found = {key(row): row for row in [*before, *rows]}
    return [found[key(each)] for each in named if key(each) in found]


def environments(runs: Sequence[dict[str, Any]], before: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Where runs happened, each machine with its versions once; commits are left out."""
    found: list[dict[str, Any]] = []
    for each in [*before, *runs]:
        place = {name: each[name] for name in ("python", "packages", "machine")}
        if place not in found:
            found.append(place)
    return found
