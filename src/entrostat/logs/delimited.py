"""CSV and TSV as rows: one column per key, one metric per row, or a chart exported from W&B with a column per run."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from entrostat.logs.names import RUNS, STEPS, role_of

_METRIC, _VALUE = ("metric", "key", "tag", "name"), ("value", "values", "mean")
_EXTRAS = ("__MIN", "__MAX")
_DASH = " - "
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")


def delimiter_of(line: str) -> str | None:
    """What separates the cells of a heading; None where a line is none: a heading has a name in every cell, and no number."""
    for delimiter in (",", "\t", ";"):
        try:
            cells = next(csv.reader([line.replace("\0", "")], delimiter=delimiter), [])
        except csv.Error:
            return None
        named = [cell.strip() for cell in cells if cell.strip()]
        if len(named) < 2 or len(cells) - len(named) > 1 or any(_is_number(cell) for cell in named):
            continue
        if (
            any(role_of(cell) for cell in named)
            or _charts(named)
            or {"step", "value"} <= {cell.lower() for cell in named}
        ):
            return delimiter
    return None


def rows_of(lines: Iterable[str], delimiter: str, tag: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Rows with the label of their run.

    Args:
        tag: the key of a file that holds the steps and values of one scalar, as TensorBoard exports it.

    Raises:
        csv.Error: it is no CSV, or two columns have one name.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    # A NUL, or the end of a line of another system within one, as damage leaves it, is nothing to the reader.
    reader: Iterator[list[str]] = csv.reader(
        (line.replace("\0", "").replace("\r", "") for line in lines), delimiter=delimiter
    )
    heading = [cell.strip() for cell in next(reader, [])]
    if twice := [cell for cell in dict.fromkeys(heading) if cell and heading.count(cell) > 1]:
        raise csv.Error(f"several columns are called {twice[0]!r}: rename them, so that it is clear which one counts")
    if delimiter == ";":  # where the comma is the decimal point
        reader = (
            [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells] for cells in reader
        )
    lower = [cell.lower() for cell in heading]
    charts = _charts(heading)
    if charts:
        yield from _exported(reader, heading, charts)
    elif value := next((lower.index(name) for name in _VALUE if name in lower), None):
        metric = next((lower.index(name) for name in _METRIC if name in lower), None)
        if metric is not None or not any(role_of(cell) for cell in heading if cell.lower() not in (*STEPS, "value")):
            yield from _long(reader, heading, metric, value, tag)
        else:
            yield from _wide(reader, heading)
    else:
        yield from _wide(reader, heading)


def _wide(reader: Iterable[list[str]], heading: list[str]) -> Iterator[tuple[dict[str, Any], str]]:
    for cells in reader:
        yield dict(zip(heading, cells, strict=False)), ""


def _long(
    reader: Iterable[list[str]], heading: list[str], metric: int | None, value: int, tag: str
) -> Iterator[tuple[dict[str, Any], str]]:
    keys = {name: at for at, name in enumerate(heading)}
    step = next((keys[each] for each in (*STEPS, "Step") if each in keys), None)
    run = next((keys[each] for each in RUNS if each in keys), None)
    row: dict[str, Any] = {}
    label = ""
    for cells in reader:
        if len(cells) != len(heading):
            continue
        now = {} if step is None else {heading[step]: cells[step]}
        key = tag if metric is None else cells[metric]
        mine = "" if run is None else cells[run]
        if row and (mine != label or key in row or any(row.get(name) != each for name, each in now.items())):
            yield row, label
            row = {}
        label = mine
        row |= now | {key: cells[value]}
    if row:
        yield row, label


def _charts(heading: list[str]) -> dict[int, tuple[str, str]]:
    """Column -> run and key, in a chart that W&B exported: `run - key`, beside it its smallest and largest."""
    found = {}
    for at, cell in enumerate(heading):
        run, dash, key = cell.rpartition(_DASH)
        if dash and role_of(key) and not cell.endswith(_EXTRAS):
            found[at] = (run, key)
    return found


def _exported(
    reader: Iterable[list[str]], heading: list[str], charts: dict[int, tuple[str, str]]
) -> Iterator[tuple[dict[str, Any], str]]:
    steps = [
        at for at, cell in enumerate(heading) if at not in charts and (role := role_of(cell)) and role.name == "step"
    ]
    by_run: dict[str, list[tuple[int, str]]] = {}
    for at, (run, key) in charts.items():
        by_run.setdefault(run, []).append((at, key))
    for cells in reader:
        head = {heading[at]: cells[at] for at in steps if at < len(cells)}
        for run, columns in by_run.items():
            row = {key: cells[at] for at, key in columns if at < len(cells) and cells[at]}
            if row:
                yield head | row, run


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
