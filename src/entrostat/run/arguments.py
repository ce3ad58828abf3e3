"""TRL's own settings: the `trainer` mapping, completed, checked and made into its configuration object."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entrostat.errors import ConfigError, blame, did_you_mean
from entrostat.run import parts, ranges, unread
from entrostat.run.config import RunConfig
from entrostat.tasks.base import Task

# What the run decides: key -> where to say it instead.
RESERVED = {
    "output_dir": "use --out",
    "max_steps": "use steps",
    "num_train_epochs": "use steps",
    "seed": "use seed",
    "data_seed": "use seed",
    "logging_strategy": "every optimizer step is recorded",
    "logging_steps": "every optimizer step is recorded",
    "logging_first_step": "every optimizer step is recorded",
    "shuffle_dataset": "the order of the prompts follows from seed",
    "resume_from_checkpoint": "use --resume",
    "ignore_data_skip": "a resumed run goes on exactly",
    "restore_callback_states_from_checkpoint": "a resumed run goes on exactly",
    "disable_tqdm": "the run has its own progress display",
    "save_only_model": "a run could then not go on exactly",
    "load_best_model_at_end": "the last policy is the run's",
    "eval_strategy": "use the settings under eval",
    "eval_on_start": "use the settings under eval",
    "auto_find_batch_size": "a batch size that changes would change the run",
}

# A constant learning rate, since a schedule would change the loop's gain while the controller holds it. No pull toward
# a reference policy, which is TRL's default for GRPO and not for RLOO.
COMMON = {
    "beta": 0.0,
    "lr_scheduler_type": "constant",
    "gradient_checkpointing": False,
    "save_strategy": "steps",
    "save_steps": 50,
    "save_total_limit": 2,
    "report_to": "none",
}
OTHER_NAMES = {
    "lr": "learning_rate",
    "batch_size": "per_device_train_batch_size",
    "group_size": "num_generations",
    "max_new_tokens": "max_completion_length",
    "max_tokens": "max_completion_length",
    "clip_eps": "epsilon",
}
"""What other trainers call settings of TRL."""

BUILT_IN = ("tiny", "tiny-hard")
TINY = {
    "learning_rate": 1.5e-4,
    "per_device_train_batch_size": 256,
    "num_generations": 16,
}


def complete(config: RunConfig, task: Task) -> dict[str, Any]:
    """The `trainer` mapping with this project's defaults under the user's values, and the task's hints."""
    import torch

    on_cpu = not torch.cuda.is_available()
    machine: dict[str, Any] = {"use_cpu": True, "bf16": False} if on_cpu else {}  # elsewhere TRL's default is bf16
    hints = {"max_completion_length": task.max_completion_tokens, "temperature": float(task.temperature)}
    return COMMON | machine | (TINY if config.model in BUILT_IN else {}) | hints | config.trainer


def trl_arguments(config: RunConfig, checkpoints: Path) -> Any:
    """`GRPOConfig` or `RLOOConfig` from a completed configuration.

    Raises:
        ConfigError: a key that TRL does not have or that the run decides, a value of the wrong type, or settings
            that TRL refuses; the message names the dotted key.
    """
    from trl import GRPOConfig, RLOOConfig

    from entrostat.hosts.trl.checks import check_settings

    kind: Any = GRPOConfig if config.algorithm == "grpo" else RLOOConfig
    _check(kind, config.trainer)
    if config.model in BUILT_IN and config.trainer.get("beta"):
        raise ConfigError(
            f"trainer.beta: {config.trainer['beta']} needs a reference policy, which TRL loads from a folder or the hub; "
            f"the built-in {config.model!r} is in neither. Use 0"
        )
    ours = {
        "output_dir": str(checkpoints),
        "max_steps": config.steps,
        "seed": config.seed,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "shuffle_dataset": False,
        "disable_tqdm": True,
    }
    try:
        arguments = kind(**config.trainer, **ours)
        check_settings(arguments, acts=config.method.name != "observe")
    except Exception as error:  # whatever it is, a setting is behind it: nothing else has been given
        raise blame("trainer", config.trainer, error) from error
    ranges.check(arguments, config.trainer)
    ranges.check_together(arguments, config.trainer)
    parts.check_parts(arguments)
    unread.check_read(arguments, config.trainer)
    return arguments


def _check(kind: Any, trainer: Mapping[str, Any]) -> None:
    from pydantic import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, TypeAdapter, ValidationError

    known = [field.name for field in dataclasses.fields(kind) if field.init and field.name not in RESERVED]
    hints = typing.get_type_hints(kind)
    for key, value in trainer.items():
        if key in RESERVED:
            raise ConfigError(f"trainer.{key}: is set by the run: {RESERVED[key]}")
        if key not in known:
            near = f" (did you mean {OTHER_NAMES[key]!r}?)" if key in OTHER_NAMES else did_you_mean(str(key), known)
            raise ConfigError(f"trainer.{key}: {kind.__name__} has no such setting{near}")
        try:
            TypeAdapter(hints[key]).validate_python(_as_tuple(value, hints[key]), strict=True)
        except ValidationError as error:
            message = error.errors()[0]["msg"].lower()
            raise ConfigError(f"trainer.{key}: {message}, got {value!r}") from error
        except RecursionError as error:
            raise ConfigError(f"trainer.{key}: is nested too deeply") from error
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
            continue  # a type that only TRL can check
    ranges.check_values(trainer)
    unread.check_alone(trainer)


def _as_tuple(value: Any, hint: Any) -> Any:
    """A list where a tuple is asked for: YAML has no tuples."""
    kinds = [each for each in (hint, *typing.get_args(hint)) if typing.get_origin(each) is tuple]
    return tuple(value) if kinds and isinstance(value, list) else value


def prompts_needed(arguments: Any, steps: int) -> int:
    """How many prompts `steps` optimizer steps consume: one pass over them is then the whole run."""
    micro_batches = steps * arguments.gradient_accumulation_steps
    per_generation = arguments.steps_per_generation * arguments.num_iterations
    generations = -(-micro_batches // per_generation)
    return int(generations * (arguments.generation_batch_size // arguments.num_generations))
