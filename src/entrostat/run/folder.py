"""The folder of one run: who may write into it, and its files.

config.yaml     the resolved configuration; `entrostat train config.yaml` repeats the run
env.json        versions and machine
metrics.jsonl   one line per optimizer step
checkpoints/    the host's checkpoints with the controller's state inside
tokens/         a sample of the tokens, for the report
summary.json    written when the run has finished
entropy.png     the figure
changes.jsonl   what was changed on resume, where something was
"""

from __future__ import annotations

import errno
import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from entrostat.core.whole_file import write_whole
from entrostat.errors import ConfigError, DataError, SaveError
from entrostat.logs.source import CONFIG as CONFIG
from entrostat.logs.source import METRICS as METRICS

ENVIRONMENT, SUMMARY = "env.json", "summary.json"
SIMULATION = "simulation.json"  # of `entrostat simulate`, whose folder is read like a run's
PROMPTS = "prompts.jsonl"  # each prompt's contribution to the predicted change of entropy, where asked for
CHANGES = "changes.jsonl"  # what a resumed run was allowed to change, and from which step on
CHECKPOINTS, FIGURE, TOKENS = "checkpoints", "entropy.png", "tokens"


def default_path(method: str, root: str | Path = "runs") -> Path:
    """`runs/<time>-<method>`, with a number behind it where that is taken: two runs may start within a second."""
    first = Path(root) / f"{time.strftime('%Y%m%d-%H%M%S')}-{method}"
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([first], others) if not path.exists())


def check_free(folder: Path) -> None:
    """Refuse a folder that holds a run, with `ConfigError`."""
    if (folder / SIMULATION).exists():
        raise ConfigError(f"{folder} holds a simulation: choose another --out")
    if (folder / CONFIG).exists():
        state = "a finished run" if (folder / SUMMARY).exists() else "an unfinished run"
        raise ConfigError(f"{folder} holds {state}: choose another --out, or go on with --resume {folder}")
    if (folder / METRICS).exists():  # of another trainer: a new run would begin it anew
        raise ConfigError(f"{folder} holds the {METRICS} of something else: choose another --out")


@contextmanager
def claim(path: str | Path, resume: bool = False) -> Iterator[Path]:
    """Hold the folder while inside: a new one for a new run, one that holds a run to resume it.

    Raises:
        ConfigError: another process holds it, it already holds a run, or there is nothing to resume in it.
        SaveError: it cannot be made.
    """
    folder = Path(path)
    if resume and not (folder / CONFIG).is_file():
        raise ConfigError(f"there is no run to resume in {folder}: it has no {CONFIG}")
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise ConfigError(f"{folder} is in use by another run: choose another --out, or wait for it") from error
    except OSError as error:
        raise SaveError(f"cannot write into {folder}: {error.strerror or error}") from error
    try:
        if not resume:
            check_free(folder)
        yield folder
    finally:
        lock.release()


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turn a failed write into an error that says which file, why, and that nothing older was lost."""
    try:
        yield
    except SaveError:
        raise
    except OSError as error:
        raise SaveError(f"cannot write {path}: {error.strerror or error}. {_advice(error)}") from error


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free space; earlier checkpoints are whole, and --resume goes on from the newest"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Choose an --out that may be written, or give the right to write there"
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return "Something else has that name: choose another --out"
    if error.errno == errno.ENAMETOOLONG:
        return "Choose a shorter --out"
    return "Choose another --out; earlier checkpoints, if any, are whole, and --resume goes on from the newest"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with saving(path):
        write_whole(path, text)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all; numbers that JSON lacks become null."""
    write_text(path, as_json(values) + "\n")


def as_json(values: Any) -> str:
    """As indented JSON; numbers that JSON lacks become null."""
    return json.dumps(_plain(values), indent=2, allow_nan=False)


class MetricsFile:
    """`metrics.jsonl`, opened to go on after `step`: later lines belong to steps that will be taken again."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [row for row in _readable(path) if row["step"] <= step]
        self.last = kept[-1] if kept else {}
        write_text(path, "".join(_line(row) for row in kept))
        with saving(path):
            self._file = path.open("a")

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one line, on disk when this returns."""
        with saving(self.path):
            self._file.write(_line(row))
            self._file.flush()

    def close(self) -> None:
        """Close the file; what cannot be flushed was already reported by `append`."""
        with suppress(OSError):
            self._file.close()


def _readable(path: Path) -> list[dict[str, Any]]:
    """The lines that can be read; whether all must be, `train` has decided before."""
    if not path.exists():
        return []
    try:
        return read_metrics(path)
    except DataError:
        broken = path.with_name(f"{path.name}.damaged")
        path.replace(broken)  # nothing is lost
        return []


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file. A last line without its end, as a crash leaves it, is left out.

    Raises:
        DataError: a line is damaged or says no step; the message names it.
    """
    try:
        whole = path.read_bytes().rpartition(b"\n")[0].decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is damaged: it is not UTF-8 text") from error
    rows = []
    for number, line in enumerate(whole.split("\n") if whole else [], 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}, is damaged: it is not JSON") from error
        step = row.get("step") if isinstance(row, dict) else None
        if not isinstance(step, int) or isinstance(step, bool):
            raise DataError(f"{path}, line {number}, is damaged: its step is {step!r}, not a whole number")
        rows.append(row)
    return rows


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(_plain(row), allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
