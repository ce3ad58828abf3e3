"""What experiment trackers leave on a disk: TensorBoard's event files, W&B's offline runs, trackio's database, Parquet."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from entrostat.errors import DataError, NotInstalled
from entrostat.logs.wire import as_bytes, as_float, as_text, fields, signed

Row = dict[str, Any]

WANDB_START = b":W&B"
_BLOCK, _HEADER = 32768, 7
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_LARGEST = 1 << 28  # bytes of one record


def event_rows(paths: list[Path]) -> Iterator[Row]:
    """The scalars of TensorBoard event files that belong to one run, those of a step together."""
    for path in paths:
        row: Row = {}
        with path.open("rb") as file:
            for message in _records(file):
                step, scalars = _scalars(message)
                if scalars and row and step != row["step"]:
                    yield row
                    row = {}
                if scalars:
                    row = {"step": step, **row, **scalars}
        if row:
            yield row


def is_event_file(head: bytes) -> bool:
    """Whether a file begins with the record that opens every event file, `brain.Event:2`."""
    return len(head) > 24 and struct.unpack("<Q", head[:8])[0] < 200 and b"brain.Event:" in head[:64]


def _records(file: IO[bytes]) -> Iterator[bytes]:
    """Each record: its length in 8 bytes, a checksum in 4, the bytes, a checksum in 4. A last one that is cut is left out."""
    while len(head := file.read(12)) == 12:
        (size,) = struct.unpack("<Q", head[:8])
        if size > _LARGEST:
            raise DataError(f"{file.name} is damaged: a record says that it holds {size} bytes")
        body = file.read(size + 4)
        if len(body) < size + 4:
            return
        yield body[:size]


def _scalars(message: bytes) -> tuple[int, Row]:
    step, scalars = 0, {}
    for number, value in fields(message):
        if number == 2 and isinstance(value, int):
            step = signed(value)
        elif number == 5:
            for inner, summary in fields(as_bytes(value)):
                if inner == 1:
                    tag, scalar = _scalar(as_bytes(summary))
                    if scalar is not None:
                        scalars[tag] = scalar
    return step, scalars


def _scalar(message: bytes) -> tuple[str, float | None]:
    tag, scalar = "", None
    for number, value in fields(message):
        if number == 1:
            tag = as_text(value)
        elif number == 2:
            scalar = as_float(value)
        elif number == 8:
            scalar = _tensor(as_bytes(value))
    return tag, scalar


def _tensor(message: bytes) -> float | None:
    """The number in a tensor of one float32 or float64, as newer writers keep scalars."""
    kind, found = 0, None
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number in (4, 5, 6):
            found = as_bytes(value)
    return as_float(found) if found is not None and kind in (1, 2) else None


def wandb_rows(path: Path) -> Iterator[Row]:
    """The history of an offline run of W&B, the file `run-ID.wandb`."""
    with path.open("rb") as file:
        for message in _log_records(file):
            for number, value in fields(message):
                if number == 2:
                    row = _history(as_bytes(value))
                    if row:
                        yield row


def _log_records(file: IO[bytes]) -> Iterator[bytes]:
    """Records of LevelDB's log format: blocks of 32 KiB, in them pieces that say whether a record begins, goes on or ends."""
    file.read(_HEADER)
    left, parts = _BLOCK - _HEADER, b""
    while True:
        if left < _HEADER:
            file.read(left)
            left = _BLOCK
        head = file.read(_HEADER)
        if len(head) < _HEADER:
            return
        size, kind = struct.unpack("<HB", head[4:])
        piece = file.read(size)
        left -= _HEADER + size
        if len(piece) < size or left < 0 or len(parts) > _LARGEST:
            return
        if kind == _WHOLE:
            yield piece
        elif kind == _FIRST:
            parts = piece
        elif kind in (_MIDDLE, _LAST):
            parts += piece
            if kind == _LAST:
                yield parts
                parts = b""


def _history(message: bytes) -> Row:
    row: Row = {}
    for number, value in fields(message):
        if number == 2:
            for inner, step in fields(as_bytes(value)):
                if inner == 1 and isinstance(step, int):
                    row["_step"] = step
        elif number == 1:
            key, nested, text = "", [], ""
            for inner, part in fields(as_bytes(value)):
                if inner == 1:
                    key = as_text(part)
                elif inner == 2:
                    nested.append(as_text(part))
                elif inner == 16:
                    text = as_text(part)
            try:
                row[key or "/".join(nested)] = json.loads(text)
            except (ValueError, RecursionError):
                continue
    return row


def sqlite_rows(path: Path) -> Iterator[tuple[Row, str]]:
    """The metrics in trackio's database, run by run."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            have = {str(row[1]) for row in database.execute("PRAGMA table_info(metrics)")}
            if not {"run_name", "step", "metrics"} <= have:
                tables = [
                    str(row[0]) for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                ]
                held = ", ".join(tables) or "none"
                raise DataError(f"{path} is an SQLite database, but not trackio's: it holds the tables {held}")
            run = "run_id" if "run_id" in have else "run_name"
            order = f"SELECT {run}, run_name, step, metrics FROM metrics ORDER BY {run}, step, rowid"
            names: dict[str, set[str]] = {}
            for key, name in database.execute(f"SELECT DISTINCT {run}, run_name FROM metrics"):
                names.setdefault(str(name), set()).add(str(key))
            for key, name, step, text in database.execute(order):
                label = str(name) if len(names[str(name)]) == 1 else f"{name} {key}"
                try:
                    values = json.loads(text)
                except (ValueError, TypeError, RecursionError):
                    continue
                if isinstance(values, dict):
                    # The database counts calls of its logger, as W&B does; a step among the metrics says more.
                    yield {"_step": step, **values}, label
    except sqlite3.Error as error:
        raise DataError(f"cannot read the database {path}: {error}") from error


def parquet_rows(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file, some thousand at a time."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise NotInstalled(f"reading {path} needs pyarrow: pip install pyarrow") from error
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(4096):
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from them
        raise DataError(f"cannot read the Parquet file {path}: {error}") from error
