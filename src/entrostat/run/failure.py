"""What breaks a training run, as a sentence; the traceback goes into the run's folder."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from entrostat.errors import ConfigError, EntrostatError, HostError, RunFailed, blame
from entrostat.run.checkpoints import find
from entrostat.run.config import RunConfig
from entrostat.run.folder import CHECKPOINTS, CONFIG, METRICS, SUMMARY

TRACEBACK = "error.txt"
_DIVERGED = ("inf, nan or element < 0", "is not finite", "non-finite", "probability tensor contains")


@contextmanager
def explained(config: RunConfig, folder: Path, step: Callable[[], int], starting: Callable[[], bool]) -> Iterator[None]:
    """Turn what a host raises into `ConfigError` before the first step (a setting was wrong), and into `RunFailed` after."""
    try:
        yield
    except HostError as error:
        raise blame("trainer", config.trainer, error) from error
    except EntrostatError as error:
        if diverged(error):
            raise _failed(folder, step(), error) from error
        raise
    except Exception as error:
        if starting() and isinstance(error, TypeError | ValueError | ImportError | NotImplementedError | KeyError):
            raise blame("trainer", config.trainer, error) from error
        raise _failed(folder, step(), error) from error


def _failed(folder: Path, step: int, error: Exception) -> RunFailed:
    place = folder / TRACEBACK
    with suppress(OSError):
        place.write_text("".join(traceback.format_exception(error)))
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if diverged(error) or _last_is_strange(folder):
        return RunFailed(
            f"after step {step} the policy has diverged ({text}): lower trainer.learning_rate or set "
            f"trainer.max_grad_norm, and start again, or from an earlier checkpoint. The traceback is in {place}"
        )
    saved = _newest(folder)
    then = f"--resume goes on from {saved.name}" if saved else "no checkpoint was saved yet: start again"
    return RunFailed(f"after step {step} the run failed: {text}. The traceback is in {place}; {then}")


def ways_on(folder: Path) -> str:
    """What a run that was broken off has left, and how to go on."""
    if not (folder / CONFIG).exists():
        return "nothing was written yet: start again"
    if (folder / SUMMARY).exists():
        return f"the run in {folder} has finished"
    if (saved := _newest(folder)) is None:
        return f"no checkpoint was saved yet: entrostat train --resume {folder} starts over from step 0"
    return f"entrostat train --resume {folder} goes on from {saved.name}"


def _newest(folder: Path) -> Path | None:
    with suppress(ConfigError):  # a folder that --resume would refuse
        return find(folder / CHECKPOINTS).newest
    return None


def diverged(error: BaseException) -> bool:
    return any(sign in str(error) for sign in _DIVERGED)


def _last_is_strange(folder: Path) -> bool:
    """Whether the last step's loss or gradient was no number, which metrics.jsonl holds as null."""
    with suppress(OSError, ValueError, IndexError):
        row: dict[str, Any] = json.loads((folder / METRICS).read_text().splitlines()[-1])
        return any(name in row and row[name] is None for name in ("loss", "grad_norm"))
    return False
