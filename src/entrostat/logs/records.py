"""What a log becomes: a run as named columns, each with its source and unit. Imports NumPy, neither torch nor any host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

EXACT, SAMPLED, SUM, UNKNOWN = "exact", "sampled", "sum", "unknown"
"""Kinds of entropy: mean over tokens of the whole distribution's; mean -log p of the sampled tokens; a sum over the tokens
of a completion; a column whose writer is not known."""

KINDS = {
    EXACT: "mean over tokens, of the whole distribution [nats per token]",
    SAMPLED: "sampled estimate, mean of -log p over the sampled tokens [nats per token]",
    SUM: "sum over the tokens of a completion [nats per completion]: it follows the length",
    UNKNOWN: "taken by its name for nats per token; the log does not say how it was computed",
}


def counted(count: int, what: str) -> str:
    """How many of what, in words: 1 row, 2 rows."""
    return f"{count:,} {what}{'s' * (count != 1)}"


@dataclass(frozen=True)
class Column:
    """One quantity of a run, a value per row.

    Attributes:
        name: what it is, in this project's words; a key of `names.QUANTITIES`, or the source key itself.
        key: what the log calls it.
        values: (rows,) float64; NaN where the log holds none, inf where it says so.
        unit: "nats per token", "tokens", "share", ...; empty where there is none to say.
        kind: of an entropy, a key of `KINDS`; else empty.
    """

    name: str
    key: str
    values: Values
    unit: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Note:
    """Something a reader of the log has to know: `code` for programs, `text` for people, `steps` where it happened."""

    code: str
    text: str
    steps: tuple[float, ...] = ()


@dataclass(frozen=True)
class Run:
    """One run out of a log.

    Attributes:
        path: the file or folder it came from.
        name: tells the runs of one file apart; of the only one, the file's or folder's name.
        host: who wrote it ("entrostat", "trl", "verl", "tinker", ...), judged by its keys; "unknown" otherwise.
        form: the format, in words ("JSON lines", "console text", ...).
        steps: (rows,) float64, increasing.
        columns: by quantity; all as long as `steps`.
        others: further columns by source key, where `read` was asked for them.
        keys: every key that held a number, in the order of the log.
        notes: what was found on the way.
        config: of the run, where the log says it.
    """

    path: Path
    name: str
    host: str
    form: str
    steps: Values
    columns: Mapping[str, Column]
    others: Mapping[str, Column] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.steps)

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Values:
        """The values of a quantity, or of a source key that was kept; NaN everywhere where the log holds none."""
        column = self.columns.get(name) or self.others.get(name)
        if column is not None:
            return column.values
        import numpy as np

        return np.full(len(self.steps), np.nan)

    def noted(self, code: str) -> Note | None:
        """The note with this code, if there is one."""
        return next((note for note in self.notes if note.code == code), None)
