"""Which checkpoint a run goes on from, and which are removed. Both go by the step in the name: clocks step back."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entrostat.errors import ConfigError
from entrostat.logs.source import STATE
from entrostat.models.folder import weights_fault

GENERATION = "generation_{rank}.pt"
IDENTITY = "run.json"
CONTROLLER = "entrostat_state.json"
_ARCHIVES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", GENERATION.format(rank=0))
_OF_MANY = {"optimizer.pt": "optimizer*", "rng_state.pth": "rng_state_*.pth"}  # where several processes share a run
_NUMBER, _WHOLE, _FLAG = (int, float), (int,), (bool,)
_TYPES: dict[str, tuple[type, ...]] = {
    "global_step": _WHOLE, "max_steps": _WHOLE, "logging_steps": _NUMBER, "save_steps": _NUMBER, "epoch": _NUMBER,
    "num_train_epochs": _WHOLE, "num_input_tokens_seen": _NUMBER, "total_flos": _NUMBER, "log_history": (list,),
    "is_local_process_zero": _FLAG, "is_world_process_zero": _FLAG, "is_hyper_param_search": _FLAG, "stateful_callbacks": (dict,),
}  # fmt: skip


@dataclass(frozen=True)
class Skipped:
    """A checkpoint that is not whole, and why; `broken_off` where writing it was, as in a crash."""

    path: Path
    why: str
    broken_off: bool


@dataclass(frozen=True)
class Found:
    """The newest whole checkpoint (None: there is none) and the newer ones that are not."""

    newest: Path | None
    skipped: tuple[Skipped, ...]

    @property
    def step(self) -> int:
        """The optimizer step that it was made at; 0 without one."""
        return step_of(self.newest) if self.newest else 0


def find(folder: Path) -> Found:
    """Look through `checkpoint-<step>` folders, newest first."""
    skipped: list[Skipped] = []
    for path in reversed(listed(folder)):
        fault = fault_of(path)
        if fault is None:
            return Found(path, tuple(skipped))
        skipped.append(fault)
    return Found(None, tuple(skipped))


def listed(folder: Path) -> list[Path]:
    """The checkpoints, oldest first.

    Raises:
        ConfigError: the folder, or one in it, is a symbolic link: removing old checkpoints would remove what it points to.
    """
    if not folder.exists() and not folder.is_symlink():
        return []
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-[0-9]{1,18}", path.name)]
    for path in (folder, *found):
        if path.is_symlink():
            raise ConfigError(
                f"{path} is a symbolic link, and old checkpoints are removed from there: make it a folder, and link the whole "
                "run folder"
            )
    return sorted(found, key=step_of)


def rotate(folder: Path, limit: int | None) -> None:
    """Keep the `limit` checkpoints of the latest steps (None: all)."""
    if limit is not None and limit > 0:
        for path in listed(folder)[:-limit]:
            shutil.rmtree(path)


def step_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def fault_of(path: Path) -> Skipped | None:
    """Why a checkpoint is not whole; None where it is.

    `trainer_state.json` comes last, so without it the checkpoint was never finished.
    """
    try:
        if not (path / STATE).is_file():
            return Skipped(path, f"it was not written to the end: it has no {STATE}", True)
        for name, check in _CHECKS.items():
            if why := _try(check, path, name):
                return Skipped(path, why, why.endswith("is empty"))
    except OSError as error:
        return Skipped(path, f"it cannot be read: {error.strerror or error}", False)
    return None


def _try(check: Callable[[Path, str], str | None], path: Path, name: str) -> str | None:
    try:
        return check(path, name)
    except (ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile) as error:
        return f"{name} is damaged ({error})"


def _state(path: Path, name: str) -> str | None:
    if not (text := (path / name).read_text()):
        return f"{name} is empty"
    values = json.loads(text)
    if not isinstance(values, dict):
        return f"{name} holds no mapping"
    for key, kinds in _TYPES.items():
        if key not in values:
            return f"{name} lacks {key!r}"
        value = values[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            return f"{name} is strange: {key!r} is {repr(value)[:60]}"
    if strange := sorted(set(values) - _known_fields()):
        return f"{name} is strange: it has the unknown field {strange[0]!r}"
    if not all(isinstance(row, dict) for row in values["log_history"]):
        return f"{name} is strange: its log_history holds something else than rows"
    if not all(isinstance(each, dict | list) for each in values["stateful_callbacks"].values()):
        return f"{name} is strange: a callback's state is no mapping"
    batch = values.get("train_batch_size")
    if not (batch is None or (isinstance(batch, int) and not isinstance(batch, bool))):
        return f"{name} is strange: 'train_batch_size' is {repr(batch)[:60]}"
    if values["global_step"] != step_of(path):
        return f"{name} is of step {values['global_step']}"
    return None


def _known_fields() -> set[str]:
    import dataclasses

    from transformers import TrainerState

    return {field.name for field in dataclasses.fields(TrainerState)}


def _controller(path: Path, name: str) -> str | None:
    """The parts that every controller's state has; the rest is the method's to read."""
    if not (path / name).exists():
        return None  # the loader says how to go on without
    if not (text := (path / name).read_text()):
        return f"{name} is empty"
    values = json.loads(text)
    wanted: dict[str, Any] = {"schema": int, "fingerprint": str, "steps": int, "state": dict | list}
    for key, kind in wanted.items():
        if not isinstance(values, dict) or not isinstance(values.get(key), kind):
            return f"{name} is damaged: {key!r} is missing or strange"
    return None


def _archive(path: Path, name: str) -> str | None:
    if not (path / name).exists():
        if name in _OF_MANY and any(path.glob(_OF_MANY[name])):
            return None
        return f"it has no {name}"
    if not (path / name).stat().st_size:
        return f"{name} is empty"
    with zipfile.ZipFile(path / name) as archive:
        return None if archive.namelist() else f"{name} is damaged"


def _weights(path: Path, _: str) -> str | None:
    return weights_fault(path)


_CHECKS: dict[str, Callable[[Path, str], str | None]] = {
    STATE: _state,
    "weights": _weights,
    CONTROLLER: _controller,
    **dict.fromkeys(_ARCHIVES, _archive),
}
