"""The entropy and the output of a run, from whatever log there is: a run folder, JSON lines, or CSV.

Imports neither torch nor any host.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrostat.core.config import did_you_mean
from entrostat.errors import ConfigError, DataError

CONFIG, METRICS = "config.yaml", "metrics.jsonl"
"""What a run folder holds."""

ENTROPY = ("entropy_control/measured", "actor/entropy", "entropy")
OUTPUT = ("entropy_control/output", "output")
OPEN_LOOP = ("entropy_control/u", "entropy_control/coef", "u", "coef")
"""A knob that a schedule moves is logged as it acted on the step; a controller's output acts after it was logged."""


@dataclass(frozen=True)
class Log:
    """One stretch of a log without gaps, one value per optimizer step.

    Attributes:
        measured: mean entropy [nats per token]. output: as logged. acting: the output that acted on the step.
        target, saturated: as logged; empty where they were not.
        columns: the names of entropy and output. skipped: steps left out because the stretch is the longest of several.
        config: of the run, where the log is a run folder.
        raises: whether a larger output raises the entropy, by the range of change that the method logged; None where it did not.
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


def read_log(path: str | Path, entropy: str | None = None, output: str | None = None, delay: int | None = None) -> Log:
    """The longest stretch of a log in which every step has both columns.

    Args:
        path: a run folder, a file of JSON lines (verl's too, whose values lie under `data`), or a CSV file with a heading.
        entropy, output: names of the columns; by default those that this project and the hosts write.
        delay: steps from the row of an output to the update that it acts on. By default 1, as in TRL, for a controller's
            output, and 0 for a knob that a schedule moves, which is logged with the step it acted on.

    Raises:
        DataError: a file that cannot be read, or holds no such stretch.
        ConfigError: there is no such column; the message lists those that there are.
    """
    folder = Path(path)
    rows = list(_rows(folder / METRICS if folder.is_dir() else folder))
    entropy = _column(rows, entropy, ENTROPY, "entropy")
    output = _column(rows, output, (*OUTPUT, *OPEN_LOOP), "output")
    if delay is None:
        delay = 0 if output in OPEN_LOOP else 1
    stretches: list[list[Mapping[str, Any]]] = [[]]
    for row in rows:
        here = row.get(entropy) is not None and row.get(output) is not None
        follows = not stretches[-1] or row.get("step") is None or row["step"] == stretches[-1][-1].get("step", -1) + 1
        if here and follows:
            stretches[-1].append(row)
        else:
            stretches.append([row] if here else [])
    best = max(stretches, key=len)
    if not best:
        raise DataError(f"{path}: no row holds both {entropy!r} and {output!r}")
    outputs = [float(row[output]) for row in best]
    return Log(
        measured=[float(row[entropy]) for row in best],
        output=outputs,
        # What acted on the first rows was logged before them, and is not known; the identification does not ask for it.
        acting=([outputs[0]] * delay + outputs)[: len(outputs)],
        target=_whole(best, ("entropy_control/target", "target")),
        saturated=_whole(best, ("entropy_control/saturated", "saturated")),
        columns=(entropy, output),
        skipped=sum(map(len, stretches)) - len(best),
        config=_config(folder),
        raises=_raises(best),
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the log {path}: {getattr(error, 'strerror', None) or error}") from error
    if path.suffix == ".csv":
        for row in csv.DictReader(text.splitlines()):
            yield {key: _number(value) for key, value in row.items() if key is not None}
        return
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines) and not text.endswith("\n"):
                return  # as a crash leaves it
            raise DataError(f"{path}, line {number}, is not JSON: give a run folder, JSON lines or a .csv") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}, holds no mapping: {line[:60]!r}")
        inner = row.pop("data", None)
        yield row | inner if isinstance(inner, dict) else row


def _number(text: str | None) -> float | None:
    """A cell of a CSV file; None where it holds no number."""
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _column(rows: Sequence[Mapping[str, Any]], wanted: str | None, usual: Sequence[str], what: str) -> str:
    have = list(dict.fromkeys(key for row in rows for key, value in row.items() if isinstance(value, int | float)))
    if wanted is not None:
        if wanted not in have:
            raise ConfigError(f"--{what}: there is no column {wanted!r}{did_you_mean(wanted, have)}; there are {have}")
        return wanted
    for name in usual:
        if name in have:
            return name
    hint = "; a run without control has none, but `entrostat tune --probe` makes one" if what == "output" else ""
    raise ConfigError(f"no column for the {what}: name it with --{what}{hint}. There are {have}")


def _whole(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[float]:
    """The first of some columns that every row has."""
    for name in names:
        if all(row.get(name) is not None for row in rows):
            return [float(row[name]) for row in rows]
    return []


def _raises(rows: Sequence[Mapping[str, Any]]) -> bool | None:
    """See `Log.raises`: the change that the highest output would have made, beside that of the lowest."""
    low, high = (_whole(rows, (f"entropy_control/authority_{end}",)) for end in ("low", "high"))
    return sum(high) > sum(low) if low and high else None


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        return {}
    from entrostat.core.config import read_values

    values = read_values(folder / CONFIG)
    return values if isinstance(values, dict) else {}
