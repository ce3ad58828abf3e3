"""Where the rows of a log come from: files and folders told apart by what they hold, opened, read row by row."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

from entrostat.errors import ConfigError, DataError, did_you_mean
from entrostat.logs.records import Note
from entrostat.logs.source import CONFIG, HEAD, METRICS, STATE, WANTED, Labeled, Source
from entrostat.logs.text import encoding_of, text_source
from entrostat.logs.trackers import WANDB_START, event_rows, is_event_file, parquet_rows, sqlite_rows, wandb_rows

_MAYBE = frozenset({".db", ".sqlite", ".parquet", ".gz", ".zip", ".json", ".ipynb", ".md"})
"""Endings of files that are logs where nothing else in their folder looks like one."""


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
    try:
        names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        names = []
    return did_you_mean(path.name, names)


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
    encoding = encoding_of(head)
    if encoding != "utf-16" and b"\0" in head[:1024]:
        raise DataError(
            f"{path} is a binary file, but not a known kind of log (it begins with {head[:8]!r}): {WANTED}; binary files that "
            "can be read are event files, run-*.wandb, Parquet, SQLite, .gz and .zip"
        )
    return text_source(path, path.name, lambda: path.open(encoding=encoding, errors="replace", newline=None), head)


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
    encoding = encoding_of(head)
    if encoding != "utf-16" and b"\0" in head[:1024]:
        raise DataError(f"{path} holds no text: unpack it and give what is inside")

    def text() -> IO[str]:
        return io.TextIOWrapper(opened(), encoding=encoding, errors="replace", newline=None)

    return text_source(path, Path(name).name, text, head)
