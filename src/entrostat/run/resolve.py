"""A configuration made whole and checked, before anything is loaded or trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from entrostat.errors import ConfigError, DataError, blame
from entrostat.run import fits
from entrostat.run.config import RunConfig
from entrostat.run.folder import CHECKPOINTS


def resolve(config: RunConfig) -> RunConfig:
    """The configuration with every default filled in, everything in it checked.

    Raises:
        ConfigError: a key or a value is wrong; the message names the dotted key.
    """
    from entrostat.core.specification import build_method
    from entrostat.run.arguments import BUILT_IN, complete, trl_arguments
    from entrostat.run.quiet import quiet

    chain = build_method(config.method.name, config.method.options)
    task = checked_task(config)
    posed = fits.problems(task, config)
    vocabulary, context = fits.policy(config.model)
    if config.model in BUILT_IN:
        fits.alphabet(posed, config)
    if vocabulary is not None:
        fits.target(chain, vocabulary)
    fits.suppressed(config, vocabulary)
    with quiet():
        trainer = complete(config, task)
        threads = config.threads or (1 if config.model in BUILT_IN else None)  # more threads do not make it faster
        resolved = config.model_copy(update={"trainer": trainer, "threads": threads})
        fits.settings(chain, trl_arguments(resolved, Path(CHECKPOINTS)))
    fits.machine(resolved)
    fits.length(resolved, context)
    return resolved


def checked_task(config: RunConfig) -> Any:
    """The task; `ConfigError` where it refuses its options."""
    from entrostat.tasks import load_task

    try:
        return load_task(config.task.name, **config.task.options)
    except (ConfigError, DataError) as error:
        raise blame("task", config.task.options, error) from error
