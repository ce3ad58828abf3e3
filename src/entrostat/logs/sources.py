"""Where the rows of a log come from: files and folders told apart by what they hold, opened, read row by row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from entrostat.errors import ConfigError, DataError
from entrostat.logs.console import Lines, Row
from entrostat.logs.delimited import delimiter_of, rows_of
from entrostat.logs.records import Note
from entrostat.logs.trackers import WANDB_START, event_rows, is_event_file, parquet_rows, sqlite_rows, wandb_rows

CONFIG, METRICS, STATE = "config.yaml", "metrics.jsonl", "trainer_state.json"
HEAD = 1 << 16
_MAYBE = frozenset({".db", ".sqlite", ".parquet", ".gz", ".zip", ".json", ".ipynb", ".md"})
"""Endings of files that are logs where nothing else in their folder looks like one."""
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


def source_of(path: Path) -> Source:
    """The log at a path; `ConfigError` where there is none, `DataError` where it cannot be opened."""
    try:
        if path.is_dir():
            return _folder(path)
        if not path.exists():
            raise ConfigError(f"{path}: there is no such file or folder{_nearby(path)}")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise DataError(f"cannot read the log {path}: {error.strerror or error}") from error
    if not head:
        raise DataError(f"{path} is empty: nothing has been logged to it yet")
    return _file(path, head)


def _nearby(path: Path) -> str:
    import difflib

    try:
        names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        names = []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _folder(path: Path) -> Source:
    """The log in a folder: of a run of ours, a checkpoint or output folder of TRL, or the only log that lies there."""
    if (path / METRICS).is_file():
        source = source_of(path / METRICS)
        source.name = path.resolve().name
        source.config = _config(path / CONFIG)
        return source
    if (path / CONFIG).is_file() and (path / "env.json").is_file():
        raise DataError(f"{path} is a run folder without {METRICS}: the run ended before its first step")
    states = [path / STATE] if (path / STATE).is_file() else sorted(path.glob(f"checkpoint-*/{STATE}"), key=_number)
    if states:
        source = source_of(states[-1])
        source.name = path.resolve().name
        return source
    events, offline = sorted(path.rglob("*tfevents*")), sorted(path.rglob("run-*.wandb"))
    if events:
        source = _events(path, events)
        if offline:  # a trainer that reports to both writes the same numbers to both
            named = ", ".join(each.name for each in offline[:8])
            text = f"the event files were read; W&B's offline runs beside them were left out: {named}"
            source.remarks = lambda: [Note("left-out", f"{text} (give one by its path to read it)")]
        return source
    if offline:
        return _offline(path, offline)
    files = [each for each in sorted(path.iterdir()) if each.is_file()]
    logs = [each for each in files if _looks_like_a_log(each)] or [each for each in files if each.suffix in _MAYBE]
    if len(logs) == 1:
        return source_of(logs[0])
    if logs:
        raise ConfigError(f"{path} holds several logs: give one of {', '.join(each.name for each in logs[:8])}")
    inner = [each for each in sorted(path.iterdir()) if each.is_dir() and any(each.iterdir())]
    hint = f"; look in {', '.join(each.name for each in inner[:6])}" if inner else ""
    raise DataError(
        f"{path} holds no log: neither {METRICS} nor {STATE}, nor event files, nor a .jsonl, .csv, .log, .txt, .db, .parquet or "
        f".json{hint}"
    )


def _events(path: Path, files: list[Path]) -> Source:
    """Event files: those of one folder are one run, which was resumed where there are several."""
    by_folder: dict[Path, list[Path]] = {}
    for each in files:
        by_folder.setdefault(each.parent, []).append(each)

    def rows() -> Labeled:
        for folder, mine in by_folder.items():
            label = "" if len(by_folder) == 1 else str(folder.relative_to(path))
            for row in event_rows(mine):
                yield row, label

    return Source(path.resolve().name if path.is_dir() else path.parent.resolve().name, "TensorBoard event files", rows)


def _offline(path: Path, files: list[Path]) -> Source:
    def rows() -> Labeled:
        for each in files:
            for row in wandb_rows(each):
                yield row, each.stem if len(files) > 1 else ""

    return Source(files[0].stem, "W&B offline run", rows)


def _number(path: Path) -> int:
    tail = path.parent.name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else -1


def _looks_like_a_log(path: Path) -> bool:
    return (
        path.suffix.lower() in {".jsonl", ".ndjson", ".csv", ".tsv", ".log", ".out", ".txt"}
        and path.name != "provenance.txt"
    )


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    from entrostat.core.config import read_values

    values = read_values(path)
    return values if isinstance(values, dict) else {}


def _file(path: Path, head: bytes) -> Source:
    if head.startswith(b"SQLite format 3\0"):
        return Source(path.stem, "trackio database", lambda: sqlite_rows(path))
    if head.startswith(b"PAR1"):
        return Source(path.stem, "Parquet", lambda: ((row, "") for row in parquet_rows(path)))
    if head.startswith(WANDB_START):
        return _offline(path, [path])
    if is_event_file(head):
        return _events(path, [path])
    if head.startswith(b"\x1f\x8b"):
        return _unpacked(path, path.name.removesuffix(".gz"), lambda: cast("IO[bytes]", gzip.open(path)))
    if head.startswith(b"PK\x03\x04"):
        return _zipped(path)
    encoding = _encoding(head)
    if encoding != "utf-16" and b"\0" in head[:1024]:
        raise DataError(
            f"{path} is a binary file of no kind that holds a log (it begins with {head[:8]!r}): {WANTED}; of binary files event "
            "files, run-*.wandb, Parquet, SQLite, .gz and .zip are read"
        )
    return text_source(path, path.name, lambda: path.open(encoding=encoding, errors="replace", newline=None), head)


def _encoding(head: bytes) -> str:
    """UTF-16 as PowerShell writes what it redirects, by its mark; else UTF-8, whose mark is taken off where there is one."""
    return "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _zipped(path: Path) -> Source:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is a zip archive that is cut or damaged: {error}; copy it again") from error
    logs = [name for name in names if _looks_like_a_log(Path(name)) or Path(name).suffix == ".json"]
    preferred = [name for name in logs if Path(name).name in (METRICS, STATE)]
    chosen = logs if len(logs) == 1 else preferred
    if len(chosen) != 1:
        what = f"several logs: unpack it and give one of {', '.join(logs[:8])}" if logs else "no log"
        raise ConfigError(f"{path} holds {what}")
    name = chosen[0]

    def opened() -> IO[bytes]:
        archive = zipfile.ZipFile(path)
        return archive.open(name)

    return _unpacked(path, name, opened)


def _unpacked(path: Path, name: str, opened: Callable[[], IO[bytes]]) -> Source:
    try:
        with closing(opened()) as file:
            head = file.read(HEAD)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        raise DataError(f"cannot unpack {path}: {error}") from error
    encoding = _encoding(head)
    if encoding != "utf-16" and b"\0" in head[:1024]:
        raise DataError(f"{path} holds no text: unpack it and give what is inside")

    def text() -> IO[str]:
        return io.TextIOWrapper(opened(), encoding=encoding, errors="replace", newline=None)

    return text_source(path, Path(name).name, text, head)


def text_source(path: Path, name: str, opened: Callable[[], IO[str]], head: bytes) -> Source:
    """A text: a JSON document, or lines."""
    start = head.decode(_encoding(head), errors="replace").lstrip("\ufeff \t\r\n")
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
