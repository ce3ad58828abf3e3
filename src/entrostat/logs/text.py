"""Logs that are text: a JSON document, a notebook, a CSV, or lines of JSON or of a console."""

from __future__ import annotations

import csv
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

from entrostat.errors import DataError
from entrostat.logs.console import Lines
from entrostat.logs.delimited import delimiter_of, rows_of
from entrostat.logs.records import Note
from entrostat.logs.source import HEAD, LARGEST, METRICS, STATE, Labeled, Source


def text_source(path: Path, name: str, opened: Callable[[], IO[str]], head: bytes) -> Source:
    """A text: a JSON document, or lines."""
    start = head.decode(encoding_of(head), errors="replace").lstrip("\ufeff \t\r\n")
    if start[:1] in ("{", "[") and _is_document(start, len(head) < HEAD):
        return _document(path, name, opened)
    suffix = Path(name).suffix.lower()
    delimiter = delimiter_of(start.splitlines()[0]) if start and start[:1] not in "{[" else None
    if suffix in (".csv", ".tsv") and delimiter is None:
        first = start.partition("\n")[0][:80]
        raise DataError(
            f"{path} has no heading that names its columns: write one, such as step,entropy,reward, above {first!r}"
        )
    if delimiter is not None:

        def cells() -> Labeled:
            with closing(opened()) as file:
                try:
                    yield from rows_of(_decoded(path, file), delimiter, Path(name).stem)
                except csv.Error as error:
                    raise DataError(f"{path} cannot be read as CSV: {error}") from error

        return Source(Path(name).stem, "CSV", cells)
    lines = Lines()

    def rows() -> Labeled:
        with closing(opened()) as file:
            for row in lines.rows(_decoded(path, file)):
                yield row, ""

    source = Source(_called(path, name), "lines of text", rows)
    source.remarks = lambda: _line_notes(lines, source)
    return source


def _called(path: Path, name: str) -> str:
    """What a run is called: as its file, or as the folder where the trainer gives every run's file the same name."""
    return path.resolve().parent.name if path.name in (STATE, METRICS) else Path(name).stem


def _decoded(path: Path, file: IO[str]) -> Iterator[str]:
    try:
        yield from file
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read the log {path}: {error}") from error


def _is_document(start: str, whole: bool) -> bool:
    """Whether a text that begins like JSON is one document, not a line of it after the other."""
    first, newline, _ = start.partition("\n")
    if newline and first.startswith("{"):
        try:
            json.loads(first)
            return False
        except (ValueError, RecursionError):
            pass
    try:
        _, end = json.JSONDecoder().raw_decode(start)
    except json.JSONDecodeError as error:
        return error.pos > max(len(start) - 4096, len(start) // 2)  # it is cut there, not wrong
    except RecursionError:
        return False
    return not start[end:].strip() and bool(newline or whole)


def _document(path: Path, name: str, opened: Callable[[], IO[str]]) -> Source:
    from entrostat.logs.documents import outputs_of, rows_in

    try:
        with closing(opened()) as file:
            text = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read the log {path}: {error}") from error
    if len(text) > LARGEST:
        raise DataError(f"{path} is one JSON document of more than {LARGEST >> 20} MiB: give its rows as JSON lines")
    text = text.lstrip("\ufeff")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is JSON that is cut or damaged: {error}; copy it again, or give JSON lines") from error
    if isinstance(document, dict) and "nbformat" in document:
        lines = Lines()
        return Source(
            Path(name).stem, "a notebook's output", lambda: ((row, "") for row in lines.rows(outputs_of(document)))
        )
    found = rows_in(document)
    if not found:
        raise DataError(
            f"{path} is JSON without a list of rows: expected `log_history`, or a list of mappings of numbers"
        )
    state = document if isinstance(document, dict) and "log_history" in document else {}
    every = state.get("logging_steps")

    def rows() -> Labeled:
        for label, listed in found.items():
            for row in listed:
                yield row, label

    return Source(
        _called(path, name),
        "TRL's trainer_state.json" if state else "a JSON document",
        rows,
        host="trl" if state else "",
        every=int(every) if isinstance(every, int | float) and every == every and 1 < every < 1e9 else None,
    )


def _line_notes(lines: Lines, source: Source) -> Iterator[Note]:
    source.form = "JSON lines" if 2 * lines.objects > lines.lines - len(lines.broken) else "console text"
    if lines.escapes:
        yield Note("escapes", f"terminal escapes were taken out of {lines.escapes} lines")
    if lines.broken and lines.objects:
        number, start = lines.broken[0]
        if len(lines.broken) == 1 and number == lines.lines:
            yield Note("cut", f"the last line, {number}, is cut, as a crash leaves it, and was left out")
        else:
            text = (
                f"{len(lines.broken)} lines are damaged JSON and were left out, the first is line {number}: {start!r}"
            )
            yield Note("damaged", text, tuple(float(at) for at, _ in lines.broken[:100]))


def encoding_of(head: bytes) -> str:
    """UTF-16 as PowerShell writes what it redirects, by its mark; else UTF-8, whose mark is taken off where there is one."""
    return "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
