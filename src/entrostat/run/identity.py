"""What a run depends on, kept in each of its checkpoints, and compared when it goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from entrostat.core.config import read_values
from entrostat.errors import ConfigError
from entrostat.run.checkpoints import IDENTITY
from entrostat.run.config import RunConfig, check_config
from entrostat.run.environment import versions
from entrostat.tasks.base import Problem

# May change with --allow, and takes effect. What decides which problems and completions a step sees cannot.
CHANGEABLE = ("method.", "eval.", "predict.", "packages.", "tokens.", "threads", "trainer.")
FIXED = (
    "method.name",
    "trainer.per_device_train_batch_size",
    "trainer.gradient_accumulation_steps",
    "trainer.steps_per_generation",
    "trainer.generation_batch_size",
    "trainer.num_iterations",
    "trainer.num_generations",
    "trainer.optim",
)


def identity(config: RunConfig, problems: Sequence[Problem], model: Any) -> dict[str, Any]:
    """Everything that decides how a run goes, as plain values."""
    return {
        "config": config.model_dump(),
        "packages": versions(),
        "problems": {"count": len(problems), "digest": digest(problems)},
        "model": hashlib.sha256(json.dumps(_shapes(model)).encode()).hexdigest()[:16],
    }


def digest(problems: Sequence[Problem]) -> str:
    """Of prompts and answers, in order."""
    found = hashlib.sha256()
    for problem in problems:
        found.update(json.dumps([problem.prompt, problem.answer]).encode())
    return found.hexdigest()[:16]


def changes(
    before: Mapping[str, Any], now: RunConfig, problems: Sequence[Problem], model: Any
) -> dict[str, tuple[Any, Any]]:
    """What differs, by dotted name: the saved value and the present one. A larger number of steps is no difference."""
    old = _flat(_with_defaults(before["config"])) | _flat({"packages": before["packages"]})
    new = _flat(now.model_dump()) | _flat({"packages": versions()})
    found = _differing(old, new)
    count = before["problems"]["count"]
    if digest(problems[:count]) != before["problems"]["digest"]:
        found["problems"] = ("those in the checkpoint", "others: the task's file or generator has changed")
    if before["model"] != (shape := identity(now, (), model)["model"]):
        found["model"] = (before["model"], shape)
    return found


def _with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The saved configuration with the sections that a later version has added, also where that refuses what was saved."""
    try:
        return check_config(dict(values)).model_dump()
    except ConfigError:
        plain: dict[str, Any] = RunConfig().model_dump()
        sections = ("eval", "predict", "tokens")
        filled = {name: plain[name] | values[name] for name in sections if isinstance(values.get(name), dict)}
        return plain | dict(values) | filled


def refuse(found: Mapping[str, tuple[Any, Any]], allowed: Collection[str], where: str) -> None:
    """`ConfigError` for what differs and is not allowed by name, or cannot be."""
    for name, (old, new) in found.items():
        if not changeable(name):
            raise ConfigError(
                f"{name}: {where} was made with {old!r}, now it is {new!r}: a resumed run cannot change it; start a new one"
            )
        if name not in allowed:
            raise ConfigError(
                f"{name}: {where} was made with {old!r}, now it is {new!r}: set it back, or allow it with --allow {name}"
            )


def changeable(name: str) -> bool:
    return name.startswith(CHANGEABLE) and name not in FIXED


def saved_settings(path: Path) -> dict[str, Any]:
    """The settings in a run's configuration file by dotted key, also those that this version refuses."""
    return _flat(_with_defaults(read_values(path)))


def settings_that_differ(before: dict[str, Any], now: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Dotted keys that differ, but for `steps`."""
    return _differing(before, _flat(now.model_dump()))


def _differing(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [name for name in before | now if name != "steps" and before.get(name) != now.get(name)]
    return {name: (before.get(name), now.get(name)) for name in names}


def read(checkpoint: Path) -> dict[str, Any] | None:
    """What the checkpoint was made with; None where an earlier version did not keep it."""
    path = checkpoint / IDENTITY
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text())
        (
            _flat(values["config"]),
            _flat(values["packages"]),
            int(values["problems"]["count"]),
            str(values["problems"]["digest"]),
        )
        return {"model": values["model"], **values}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is damaged ({error!r}): remove {checkpoint} to go on from an older checkpoint"
        ) from error


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{path}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return found


def _shapes(model: Any) -> list[Any]:
    return sorted((name, list(weight.shape), str(weight.dtype)) for name, weight in model.named_parameters())
