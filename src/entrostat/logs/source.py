"""A log, opened: what its rows are read from, and what is known of it before they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from entrostat.logs.console import Row
from entrostat.logs.records import Note

CONFIG, METRICS = "config.yaml", "metrics.jsonl"
"""What a run folder holds."""
STATE = "trainer_state.json"
HEAD = 1 << 16  # characters by which a file is told
LARGEST = 1 << 30
WANTED = "give what the trainer logs its metrics to, such as trainer_state.json, metrics.jsonl, a CSV or its console's output"
Labeled = Iterator[tuple[Row, str]]


@dataclass
class Source:
    """A log, opened.

    Attributes:
        name: for its only run. form: the format in words. host: where the format itself says it. every: optimizer steps per row,
        where the log says it. config: of the run. read: yields rows with the label of their run; "" where there is one.
    """

    name: str
    form: str
    read: Callable[[], Labeled]
    host: str = ""
    every: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    remarks: Callable[[], Iterable[Note]] = tuple

    def rows(self) -> Labeled:
        return self.read()

    def notes(self) -> Iterable[Note]:
        return self.remarks()

    def found_nothing(self, keys: Mapping[str, bool]) -> str:
        """Why there is no run in it."""
        if not keys:
            return f"holds no rows of numbers (read as {self.form}): {WANTED}"
        shown = ", ".join(map(repr, list(keys)[:12])) + (" ..." if len(keys) > 12 else "")
        return (
            f"holds numbers (read as {self.form}) but none of them is an entropy, a reward, a length or a gradient by its name; "
            f"name the columns, for instance --column entropy=KEY (tune: --entropy KEY). There are {shown}"
        )
