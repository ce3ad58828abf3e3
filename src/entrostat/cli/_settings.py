"""From the words on the command line to a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from entrostat.errors import ConfigError

if TYPE_CHECKING:
    from entrostat.run.config import RunConfig
    from entrostat.tasks import Task


def for_new_run(words: Sequence[str]) -> RunConfig:
    """A configuration from at most one file and any number of `key.path=value` overrides."""
    from entrostat.run.config import load_config

    return load_config(*one_file(words))


def one_file(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """At most one file, and the `key.path=value` overrides."""
    files = [word for word in words if "=" not in word]
    if len(files) > 1:
        raise ConfigError(f"give one configuration file, got {files}; overrides have the form key.path=value")
    return (files[0] if files else None), [word for word in words if "=" in word]


def task_in(text: str) -> Task:
    """The task that an option names as a configuration does: `countdown`, or `{name: rg:chain_sum, shots: 4}`."""
    from entrostat.run.config import load_config
    from entrostat.run.resolve import checked_task

    task: Task = checked_task(load_config(overrides=[f"task={text}"]))
    return task


def check_parts(config: RunConfig) -> None:
    """Refuse a policy, task or method that a run of this configuration would refuse, before any process or folder is made.

    `resolve` checks everything, but imports the trainer first.
    """
    from entrostat.core.specification import build_method
    from entrostat.run import fits
    from entrostat.run.resolve import checked_task

    chain = build_method(config.method.name, config.method.options)
    checked_task(config)
    vocabulary = fits.policy(config.model).vocabulary
    if vocabulary is not None:
        fits.target(chain, vocabulary)


@contextmanager
def own_settings(folder: Path | None) -> Iterator[None]:
    """Say of an error in a resumed run's own configuration, which a version before took, how to go on; None: a new run."""
    try:
        yield
    except ConfigError as error:
        if folder is None:
            raise
        raise ConfigError(
            f"{error}. This is in config.yaml of {folder}, or was given with --resume. If an earlier version accepted it, go on "
            "with another value: KEY=VALUE (null leaves it out) and --allow KEY"
        ) from error


def for_resumed_run(folder: Path, out: Path | None, words: Sequence[str], allow: Sequence[str] = ()) -> RunConfig:
    """The configuration of the run in `folder`; its length may change, and what `allow` names."""
    from entrostat.run.config import load_config
    from entrostat.run.folder import CONFIG, SIMULATION
    from entrostat.run.identity import changeable, saved_settings, settings_that_differ

    if out is not None:
        raise ConfigError(f"--out {out} beside --resume {folder}: a resumed run stays in its folder")
    if files := [word for word in words if "=" not in word]:
        raise ConfigError(f"{files[0]}: a resumed run has its own configuration file; give key.path=value")
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"there is no run to resume in {folder}: it has no {CONFIG}")
    if (folder / SIMULATION).exists():
        raise ConfigError(f"there is no run to resume in {folder}: it holds a simulation")
    with own_settings(folder):
        after = load_config(folder / CONFIG, words)
    for name, (old, new) in settings_that_differ(saved_settings(folder / CONFIG), after).items():
        if not changeable(name):
            raise ConfigError(
                f"{name}={new}: a resumed run cannot change this setting, which is {old}: start a new run"
            )
        if name not in allow:
            raise ConfigError(
                f"{name}={new}: a resumed run keeps its configuration, except for steps=...; it has {old}. "
                f"To change it from here on, and keep what was learned, add --allow {name}"
            )
    return after
