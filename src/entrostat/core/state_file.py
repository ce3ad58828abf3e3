"""The controller's state on disk: one JSON file beside the host's checkpoint, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from entrostat.core.whole_file import write_whole
from entrostat.errors import SaveError, StateError
from entrostat.methods import Chain, fingerprint
from entrostat.methods.fingerprint import describe, differences

FILE_NAME = "entrostat_state.json"
SCHEMA = 2
AFRESH = (
    "To start the controller afresh from this checkpoint, pass resume_state='fresh' to es.trl.controlled; in a loop of "
    "your own, do not load it"
)
"""How to go on without the state; a host whose users type something else says it in its own words."""


def save_state(directory: str | Path, method: Chain, state: Any, steps: int) -> Path:
    """Write the state into a directory, atomically: an earlier file stays whole until the new one is.

    Raises:
        SaveError: the disk is full, or the directory is not there or cannot be written; the earlier file is untouched.
    """
    record = {
        "schema": SCHEMA,
        "fingerprint": fingerprint(method),
        "method": describe(method),
        "steps": steps,
        "state": method.state_to_dict(state),
    }
    path = Path(directory) / FILE_NAME
    try:
        # No NaN in the file: JSON has none, and a controller never holds one.
        write_whole(path, json.dumps(record, indent=1, allow_nan=False))
    except OSError as error:
        failed = SaveError(
            f"cannot write {path}: {error.strerror or error}. Make the directory before, see that it can be written, and "
            "free space where the disk is full"
        )
        failed.errno = error.errno  # who asks whether the disk is full asks it of any OSError
        raise failed from error
    return path


def load_state(
    directory: str | Path, method: Chain, afresh: str = AFRESH, *, same_settings: bool = True
) -> tuple[Any, int]:
    """The state and the number of steps behind it, from a directory that `save_state` wrote into.

    Args:
        directory: of the checkpoint.
        method: whose state is expected.
        afresh: what an error says about going on without the state.
        same_settings: whether the state must be of a method with the very same settings. Otherwise what was learned is kept
            under another target, other limits or another settling time; another kind of state is still refused.

    Raises:
        StateError: there is no file, it is unreadable, or it belongs to another method. The controller is never
            started afresh without a word: the message says how to go on.
    """
    path = Path(directory) / FILE_NAME
    if not path.exists():
        raise StateError(f"no controller state at {path}: the checkpoint was made without entropy control. {afresh}")
    try:
        record = json.loads(path.read_text(), parse_constant=_refuse)
        schema, saved = record["schema"], record["fingerprint"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise StateError(
            f"the controller state at {path} cannot be read ({error}). Use another checkpoint. {afresh}"
        ) from error
    if schema != SCHEMA:
        raise StateError(f"the controller state at {path} has schema {schema}, this version reads {SCHEMA}. {afresh}")
    if same_settings and saved != fingerprint(method):
        raise StateError(
            f"the controller state at {path} belongs to another method or other settings: "
            f"{_changed(record.get('method'), method)}. Resume with the saved ones. {afresh}"
        )
    try:
        return method.state_from_dict(record["state"]), int(record["steps"])
    except (StateError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StateError(
            f"the controller state at {path} is damaged ({error}). Use another checkpoint. {afresh}"
        ) from error


def _changed(saved: Any, method: Chain) -> str:
    """What was changed, by the names of the settings; of another method its name says enough."""
    now = describe(method)
    name = saved.get("name") if isinstance(saved, dict) else None
    if name != now["name"]:
        return f"it is of {name!r}, and the method now is {now['name']!r}"
    return "; ".join(differences(saved, now)) or "its fingerprint is another one"


def _refuse(constant: str) -> float:
    raise ValueError(f"it holds {constant}")
