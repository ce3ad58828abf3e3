"""Rows as columns while they come, and columns as runs: steps found, rows of one step joined, restarts told apart."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from entrostat.logs.console import STEP
from entrostat.logs.names import HELD_OUT, RUNS, STEPS, role_of
from entrostat.logs.records import Note, counted
from entrostat.logs.values import number_in

if TYPE_CHECKING:
    from entrostat.logs.records import Values

_KINDS = ("type", "split", "mode", "phase", "stage")
_FLAT = frozenset({"data", "metrics", "logs", "log", "values", "summary", "stats"})
_DEEPEST = 6
_NAN = math.nan


class Table:
    """Columns that grow row by row. Only what `keep` asks for is held: a gigabyte of text leaves a few megabytes.

    Attributes:
        columns: values by key, NaN where a row has none.
        keys: every key that held a number. texts, unfit, strange: how often a key held a number as text, something that
            is no number, NaN or infinity.
    """

    def __init__(self, keep: Callable[[str], bool]) -> None:
        self.rows = 0
        self.columns: dict[str, array[float]] = {}
        self.keys: dict[str, bool] = {}
        self.texts: dict[str, int] = {}
        self.unfit: dict[str, str] = {}
        self.strange: dict[str, int] = {}
        self._keep = keep

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row; one without any number that is wanted leaves no trace."""
        held_out = _held_out(row)
        before = self.rows
        for key, value in self._numbers(row, "", 0):
            name = f"eval/{key}" if held_out and key not in STEPS else key
            wanted = self.keys.get(name)
            if wanted is None:
                wanted = self.keys[name] = self._keep(name)
            if not wanted:
                continue
            column = self.columns.get(name)
            if column is None:
                column = self.columns[name] = array("d")
            short = before - len(column)
            if short > 0:
                column.extend([_NAN] * short)
            if short < 0:
                column[before] = value  # a key twice in one row: the last one holds
            else:
                column.append(value)
            self.rows = before + 1

    def _numbers(self, row: Mapping[Any, Any], prefix: str, depth: int) -> Iterator[tuple[str, float]]:
        known = self.keys
        for key, value in row.items():
            name = prefix + key if isinstance(key, str) else f"{prefix}{key}"
            kind = type(value)
            if kind is float and known.get(name) is False and value - value == 0.0:
                continue  # most of a row: finite, and not needed
            if kind is float:
                number = value
            elif kind is int or kind is bool:
                try:
                    number = float(value)
                except OverflowError:
                    number = math.inf
            elif kind is str:
                if not value or value[0] not in "-+.0123456789nNiI":
                    self._not_a_number(name, value)
                    continue
                found = number_in(value)
                if found is None:
                    self._not_a_number(name, value)
                    continue
                self.texts[name] = self.texts.get(name, 0) + 1
                number = found
            elif isinstance(value, Mapping) and depth < _DEEPEST:
                inner = "" if not prefix and key in _FLAT else f"{name}/"
                yield from self._numbers(value, inner, depth + 1)
                continue
            else:
                continue
            if number != number or number in (math.inf, -math.inf):
                self.strange[name] = self.strange.get(name, 0) + 1
            yield name, number

    def _not_a_number(self, key: str, value: str) -> None:
        if key not in self.unfit and len(self.unfit) < 1000 and role_of(key) is not None:
            self.unfit[key] = value[:40]

    def values(self, key: str) -> Values:
        """A column in full length."""
        column = self.columns.get(key, array("d"))
        out = np.full(self.rows, np.nan)
        out[: len(column)] = column
        return out


def _held_out(row: Mapping[str, Any]) -> bool:
    return any(isinstance(kind := row.get(key), str) and kind.lower() in HELD_OUT for key in _KINDS)


@dataclass
class Part:
    """The rows of one run, joined: which raw row gives which value.

    Attributes:
        steps: (rows,). group: (raw rows,) the row that each raw row is part of, -1 where it was replaced.
        raw: indices of the raw rows. label: of the run. notes: what joining them showed.
    """

    label: str
    raw: Any
    group: Any
    steps: Values
    notes: list[Note] = field(default_factory=list)

    def take(self, values: Values) -> Values:
        """A column of the table as a column of this run: of several values for one step the last."""
        out = np.full(len(self.steps), np.nan)
        mine = values[self.raw]
        here = ~np.isnan(mine) & (self.group >= 0)
        out[self.group[here]] = mine[here]
        return out


def run_of(row: Mapping[str, Any]) -> str:
    """The run that a row says it is of, or ""."""
    return next((str(row[key]) for key in RUNS if isinstance(row.get(key), str)), "")


def parts_of(table: Table, core: Values, label: str = "", step: str | None = None) -> list[Part]:
    """The runs of a table: several where its steps begin again.

    Args:
        core: (rows,) the column that says which rows are optimizer steps: the entropy, or else the reward.
        label: what the runs are called.
        step: the key of the step, where it should not be found by its name.
    """
    notes: list[Note] = []
    rows: Any = np.arange(table.rows)
    key, steps = _steps(table, core, rows, notes, step)
    back = np.diff(steps[np.isfinite(steps)])
    if len(back) > 3 and (back < 0).mean() > 0.9:
        rows, steps = rows[::-1], steps[::-1]
        notes.append(Note("newest-first", "the log begins with its last step: its rows were turned round"))
    elif _scrambled(steps, np.isfinite(core[rows])):
        order = np.argsort(steps, kind="stable")
        rows, steps = rows[order], steps[order]
        notes.append(Note("out-of-order", f"the rows were out of order: they were sorted by {key!r}"))
    is_core = np.isfinite(core[rows])
    steps, group_of = _joined(steps, is_core)
    cuts = _beginnings(steps)
    bounds = [0, *cuts, len(steps)]
    parts = []
    for number, (low, high) in enumerate(pairwise(bounds), 1):
        kept = _last_word(steps[low:high])
        place = np.full(high - low, -1)
        place[kept] = np.arange(len(kept))
        inside = (group_of >= low) & (group_of < high)
        group = place[group_of[inside] - low]
        part = Part(label, rows[inside], group, steps[low:high][kept], list(notes))
        if cuts:
            part.label = f"{label} part {number}".strip()
            part.notes.append(
                Note(
                    "several-runs",
                    f"the steps begin again {counted(len(cuts), 'time')}: this is run {number} of {len(cuts) + 1}",
                )
            )
        part.notes += _replaced(steps[low:high], kept)
        if len(part.steps):
            parts.append(part)
    return parts


def _steps(table: Table, core: Values, rows: Any, notes: list[Note], named: str | None) -> tuple[str, Values]:
    """The step of each row: as it was named; of the keys that hold one, the first that most rows of the core have; else the
    row's number."""
    is_core = np.isfinite(core[rows])
    candidates = [key for key in table.columns if (role := role_of(key)) and role.name == "step"]
    candidates.sort(key=lambda key: (role_of(key).rank, key.count("/")))  # type: ignore[union-attr]
    for key in [*([named] if named else []), *candidates, *([STEP] if STEP in table.columns else [])]:
        values = table.values(key)[rows]
        has = np.isfinite(values)
        if has[is_core].mean() >= 0.9:
            if key == STEP:
                notes.append(
                    Note(
                        "steps-implied", "the rows hold no step: it was taken from the progress bar or text before each"
                    )
                )
            return key, values
    bad = next((key for key in table.unfit if role_of(key) and role_of(key).name == "step"), None)  # type: ignore[union-attr]
    why = f"the step, {bad!r}, is text such as {table.unfit[bad]!r}" if bad else "the rows hold no step"
    notes.append(Note("steps-numbered", f"{why}: rows are numbered from 1"))
    return "", np.where(is_core, np.cumsum(is_core), np.nan).astype(float)


def _scrambled(steps: Values, is_core: Any) -> bool:
    """Whether rows of one run stand out of order: the steps go back again and again, and none of them comes twice."""
    mine = steps[is_core]
    return bool(np.isfinite(steps).all() and (np.diff(mine) < 0).sum() > 1 and len(np.unique(mine)) == len(mine))


def _joined(steps: Values, is_core: Any) -> tuple[Values, Any]:
    """Rows that belong to one step as one group: neighbors of equal step of which at most one is of the core, and rows
    without a step, which go with the next that has one.

    Returns:
        The step of each group, and the group of each row.
    """
    n = len(steps)
    group = np.empty(n, dtype=np.int64)
    heads: list[float] = []
    full = False
    waiting: list[int] = []
    for i, (step, core) in enumerate(zip(steps.tolist(), is_core.tolist(), strict=True)):
        if step != step:
            if core:
                step = (heads[-1] if heads else 0.0) + 1.0
            else:
                waiting.append(i)
                continue
        if not heads or step != heads[-1] or (core and full):
            heads.append(step)
            full = False
        full = full or core
        group[i] = len(heads) - 1
        for j in waiting:
            group[j] = len(heads) - 1
        waiting.clear()
    for j in waiting:
        group[j] = max(len(heads) - 1, 0)
    return np.asarray(heads, dtype=float), group


def _beginnings(steps: Values) -> list[int]:
    """Where a new run begins: the steps go back to a beginning. Elsewhere they go back because a run was resumed."""
    if not len(steps):
        return []
    change = np.diff(steps)
    usual = float(np.median(change[change > 0])) if (change > 0).any() else 1.0
    first = min(max(float(steps[0]), 0.0), usual)
    return [int(i) for i in np.flatnonzero(change <= 0) + 1 if steps[i] <= first]


def _last_word(steps: Values) -> Any:
    """Indices of the rows that no later row of the same or a smaller step replaces."""
    if not len(steps):
        return np.arange(0)
    later = np.minimum.accumulate(steps[::-1])[::-1]
    keep = np.ones(len(steps), dtype=bool)
    keep[:-1] = steps[:-1] < later[1:]
    return np.flatnonzero(keep)


def _replaced(steps: Values, kept: Any) -> Iterator[Note]:
    back = np.flatnonzero(np.diff(steps) < 0) + 1
    if len(back):
        text = f"the steps go back {counted(len(back), 'time')} (resumed): later rows replace earlier ones"
        yield Note("restarts", text, tuple(steps[back].tolist()))
    lost = len(steps) - len(kept)
    if lost:
        gone = np.delete(steps, kept)
        what = "1 row repeats" if lost == 1 else f"{lost:,} rows repeat"
        yield Note("repeated-steps", f"{what} a step; the last of each was taken", tuple(gone[:100].tolist()))
