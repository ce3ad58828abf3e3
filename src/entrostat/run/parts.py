"""The optimizer, the schedule and the way of generating that a run's settings ask for, made once before the run.

Most of what these settings can get wrong only transformers knows: a name that needs a package, an argument that its optimizer
does not take, a schedule that wants keywords. So it is asked to make them, of a model with one weight.
"""

from __future__ import annotations

import warnings
from typing import Any

from entrostat.core.config import did_you_mean
from entrostat.errors import ConfigError

ONE_COMPLETION = ("num_return_sequences", "num_beams", "num_beam_groups")


def check_parts(arguments: Any) -> None:
    """Refuse settings of which no optimizer, schedule or way of generating can be made.

    Args:
        arguments: TRL's configuration object, whole.

    Raises:
        ConfigError: with the dotted key and what transformers says.
    """
    _check_optimizer(arguments)
    _check_generation(arguments)


def _check_optimizer(arguments: Any) -> None:
    from torch.nn import Linear
    from transformers import Trainer, get_scheduler

    model: Any = Linear(1, 1, bias=False)
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
        optimizer = kind(model.parameters(), **options)
    except Exception as error:  # of any type: a missing package, an unknown argument, a value out of range
        key = "optim_args" if arguments.optim_args else "optim"
        raise _refused(key, getattr(arguments, key), error) from error
    if arguments.lr_scheduler_type == "constant" and arguments.lr_scheduler_kwargs:
        raise ConfigError(
            "trainer.lr_scheduler_kwargs: a constant learning rate takes none; "
            f"set trainer.lr_scheduler_type as well, or leave it out: got {arguments.lr_scheduler_kwargs!r}"
        )
    try:
        get_scheduler(
            arguments.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=arguments.get_warmup_steps(arguments.max_steps),
            num_training_steps=arguments.max_steps,
            scheduler_specific_kwargs=dict(arguments.lr_scheduler_kwargs or {}),
        )
    except Exception as error:
        key = "lr_scheduler_kwargs" if arguments.lr_scheduler_kwargs else "lr_scheduler_type"
        raise _refused(key, getattr(arguments, key), error) from error


def _check_generation(arguments: Any) -> None:
    from transformers import GenerationConfig
    from transformers.generation.configuration_utils import ALL_CACHE_IMPLEMENTATIONS

    options: dict[str, Any] = dict(arguments.generation_kwargs or {})
    for key in ONE_COMPLETION:
        if options.get(key, 1) != 1:
            raise ConfigError(
                f"trainer.generation_kwargs: {key} must be 1, got {options[key]!r}: every row is sampled once; "
                "trainer.num_generations says how often a prompt is tried"
            )
    known = GenerationConfig().to_dict()
    for key in options:
        if key not in known:
            raise ConfigError(
                f"trainer.generation_kwargs: transformers has no setting {key!r}{did_you_mean(str(key), list(known))}"
            )
    cache = options.get("cache_implementation", arguments.cache_implementation)
    if cache is not None and cache not in ALL_CACHE_IMPLEMENTATIONS:
        raise ConfigError(
            f"trainer.cache_implementation: transformers has no cache {cache!r}"
            f"{did_you_mean(str(cache), ALL_CACHE_IMPLEMENTATIONS)}; it has {', '.join(ALL_CACHE_IMPLEMENTATIONS)}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of flags that have no effect: the run itself says so
            GenerationConfig(**options).validate()
    except Exception as error:
        raise _refused("generation_kwargs", options, error) from error


def _refused(key: str, value: Any, error: Exception) -> ConfigError:
    said = " ".join(str(error).split()) or type(error).__name__
    return ConfigError(f"trainer.{key}: transformers can make nothing of {getattr(value, 'value', value)!r}: {said}")
