"""The entropy and the controller's output of a run, from any log: what identification and tuning need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrostat.errors import ConfigError, DataError
from entrostat.logs.names import near
from entrostat.logs.read import read
from entrostat.logs.records import SUM, Run


@dataclass(frozen=True)
class Log:
    """One stretch of a log without gaps, one value per optimizer step.

    Attributes:
        measured: mean entropy [nats per token]. output: as logged. acting: the output that acted on the step.
        target, saturated: as logged; empty where they were not.
        columns: the log's names of entropy and output. skipped: steps left out because the stretch is the longest of several.
        config: of the run, where the log is a run folder.
        raises: whether a larger output raises the entropy, by the range of change that the method logged; None where it did not.
        notes: what a reader of the log has to know about it.
    """

    measured: list[float]
    output: list[float]
    acting: list[float]
    target: list[float]
    saturated: list[float]
    columns: tuple[str, str]
    skipped: int
    config: Mapping[str, Any]
    raises: bool | None
    notes: tuple[str, ...] = ()


def read_log(path: str | Path, entropy: str | None = None, output: str | None = None, delay: int | None = None) -> Log:
    """The longest stretch of a log in which every step has both an entropy and an output.

    Args:
        path: as `read` takes it; of several runs, the one with the longest stretch.
        entropy, output: the log's names of the columns; by default those that this project and the hosts write.
        delay: steps from the row of an output to the update that it acts on. By default 1, as in TRL, for a controller's
            output, and 0 for a knob that a schedule moves, which is logged with the step it acted on.

    Raises:
        DataError: a file that cannot be read, or holds no such stretch.
        ConfigError: there is no such file or column; the message names near ones.
    """
    named = {name: key for name, key in {"entropy": entropy, "output": output}.items() if key is not None}
    runs = read(path, named)
    found = [(_stretch(run, _moved(run)), run) for run in runs]
    (rows, run) = max(found, key=lambda each: len(each[0]))
    if "entropy" not in run:
        why = note.text if (note := run.noted("no-entropy")) else "no column for the entropy"
        raise ConfigError(f"{path}: {why}: name it with --entropy. There are {_shown(run)}")
    if run.columns["entropy"].kind == SUM:
        key = run.columns["entropy"].key
        raise ConfigError(
            f"{path}: {key!r} is a sum over the tokens of a completion, and a controller needs nats per token: "
            f"name another column with --entropy, or log the mean. There are {_shown(run)}"
        )
    moved = _moved(run)
    if moved is None:
        hint = "a run without control has none, but `entrostat tune --probe` makes one"
        raise ConfigError(f"{path}: no column for the output: name it with --output; {hint}. There are {_shown(run)}")
    if not len(rows):
        keys = f"{run.columns['entropy'].key!r} and {run.columns[moved].key!r}"
        raise DataError(f"{path}: no row holds both {keys}")
    if delay is None:
        delay = 0 if moved == "knob" else 1
    outputs = run[moved][rows].tolist()
    both = sum(len(_both(each, _moved(each))) for each in runs)
    return Log(
        measured=run["entropy"][rows].tolist(),
        output=outputs,
        # What acted on the first rows was logged before them, and is not known; the identification does not ask for it.
        acting=([outputs[0]] * delay + outputs)[: len(outputs)],
        target=_whole(run, "target", rows),
        saturated=_whole(run, "saturated", rows),
        columns=(run.columns["entropy"].key, run.columns[moved].key),
        skipped=both - len(rows),
        config=run.config,
        raises=_raises(run, rows),
        notes=tuple(note.text for note in run.notes),
    )


def _moved(run: Run) -> str | None:
    return next((name for name in ("output", "knob") if name in run), None)


def _both(run: Run, moved: str | None) -> Any:
    import numpy as np

    if moved is None or "entropy" not in run:
        return np.arange(0)
    return np.flatnonzero(np.isfinite(run["entropy"]) & np.isfinite(run[moved]))


def _stretch(run: Run, moved: str | None) -> Any:
    """Rows of the longest stretch whose steps follow one another."""
    import numpy as np

    rows = _both(run, moved)
    if not len(rows):
        return rows
    apart = np.flatnonzero((np.diff(rows) != 1) | (np.diff(run.steps[rows]) != 1)) + 1
    return max(np.split(rows, apart), key=len)


def _whole(run: Run, name: str, rows: Any) -> list[float]:
    """A quantity that every row has; else nothing."""
    import numpy as np

    values = run[name][rows]
    return values.tolist() if np.isfinite(values).all() else []


def _raises(run: Run, rows: Any) -> bool | None:
    """See `Log.raises`: the change that the highest output would have made, beside that of the lowest."""
    low, high = (_whole(run, f"authority_{end}", rows) for end in ("low", "high"))
    return sum(high) > sum(low) if low and high else None


def _shown(run: Run) -> str:
    close = near(run.keys)
    return ", ".join(map(repr, close or run.keys[:12])) + (
        " ..." if len(run.keys) > len(close or run.keys[:12]) else ""
    )
