"""Settings that nothing would read: an argument that the optimizer ignores, an option of something that is switched off.

transformers and TRL take them without a word. Here they are refused, with what to set as well or instead.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from entrostat.errors import ConfigError, did_you_mean

_UNDER_EVAL = "a run evaluates by the settings under eval"
_NEVER = {
    **dict.fromkeys(
        (
            "batch_eval_metrics",
            "bf16_full_eval",
            "do_eval",
            "eval_accumulation_steps",
            "eval_delay",
            "eval_do_concat_batches",
            "eval_steps",
            "eval_use_gather_object",
            "fp16_full_eval",
            "greater_is_better",
            "include_for_metrics",
            "metric_for_best_model",
            "num_generations_eval",
            "per_device_eval_batch_size",
            "prediction_loss_only",
        ),
        _UNDER_EVAL,
    ),
    **dict.fromkeys(("model_init_kwargs", "trust_remote_code"), "a run loads its policy itself, by model"),
    **dict.fromkeys(("length_column_name", "train_sampling_strategy"), "the order of the prompts follows from seed"),
    "chat_template_kwargs": "a task's prompts are plain text",
    "label_smoothing_factor": "TRL's losses have no labels",
    "max_tool_calling_iterations": "a run has no tools",
}
"""Setting -> why no run reads it."""

_LOSSES = ("sapo", "vespo")
_UNCLIPPED = {"epsilon": _LOSSES, "epsilon_high": _LOSSES, "delta": (*_LOSSES, "cispo")}
"""Setting of a clip -> losses that have none."""
_SWITCHES: dict[str, str] = {
    "activation_checkpointing_kwargs": "activation_checkpointing",
    "dataloader_persistent_workers": "dataloader_num_workers",
    "dataloader_prefetch_factor": "dataloader_num_workers",
    "entropy_coef_": "use_adaptive_entropy",
    "entropy_target": "use_adaptive_entropy",
    "fsdp_config": "fsdp",
    "gradient_checkpointing_kwargs": "gradient_checkpointing",
    "hub_": "push_to_hub",
    "liger_kernel_config": "use_liger_kernel",
    "log_completions_hub_repo": "log_completions",
    "log_unique_prompts": "log_completions",
    "num_completions_to_print": "log_completions",
    "ref_model_": "sync_ref_model",
    "transformers_continuous_batching_config": "use_transformers_continuous_batching",
    "use_bias_correction_kl": "beta",
    "vllm_": "use_vllm",
}
"""Setting, or how the names of several begin -> what must be on for it to be read."""
_ITS_OWN = ("learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon")


_SHARED = ("ddp_", "fsdp", "parallelism_config", "local_rank")
"""How settings begin that say how several processes share a run."""
_SHOWN = {"run_name": None, "project": "trackio", "trackio_": "trackio"}
"""Setting, or how the names of several begin -> where a run must be shown for it to be read; None: anywhere."""


def check_alone(trainer: Mapping[str, Any]) -> None:
    """Refuse what only several processes read, where there is one: transformers drops some of it and fails on the rest."""
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        return
    for key, value in trainer.items():
        if key.startswith(_SHARED) and value not in (None, "", False, -1):
            raise ConfigError(
                f"trainer.{key}: has no effect in one process: leave it out, or start the run with torchrun or accelerate launch"
            )


def check_read(arguments: Any, trainer: Mapping[str, Any]) -> None:
    """Refuse what was set to something else than its default and has no effect.

    Args:
        arguments: TRL's configuration object, of which an optimizer can be made.
        trainer: the settings that were given.

    Raises:
        ConfigError: with the dotted key and what to do.
    """
    for key in trainer:
        if _is_default(arguments, trainer, key):
            continue
        if key in _NEVER:
            raise ConfigError(f"trainer.{key}: has no effect: {_NEVER[key]}. Leave it out")
        for start, switch in _SWITCHES.items():
            if key.startswith(start) and not getattr(arguments, switch, None):
                raise ConfigError(
                    f"trainer.{key}: has no effect without trainer.{switch}: set that too, or leave it out"
                )
        for start, where in _SHOWN.items():
            if key.startswith(start) and not (where in arguments.report_to if where else arguments.report_to):
                raise ConfigError(
                    f"trainer.{key}: has no effect without trainer.report_to={where or 'wandb'}: set that too, or leave it out"
                )
        if getattr(arguments, "loss_type", None) in _UNCLIPPED.get(key, ()):
            raise ConfigError(
                f"trainer.{key}: has no effect with trainer.loss_type={arguments.loss_type}, which has no such clip. Leave it out"
            )
        for loss in _LOSSES:
            if key.startswith(f"{loss}_") and arguments.loss_type != loss:
                raise ConfigError(
                    f"trainer.{key}: has no effect with trainer.loss_type={arguments.loss_type}: it is of {loss!r}. Leave it out"
                )
    if arguments.fp16 and arguments.device.type == "cpu":
        raise ConfigError("trainer.fp16: has no effect on a CPU: use trainer.bf16, or leave it out")
    _check_schedule(arguments)
    _check_optimizer(arguments, trainer)


def _is_default(arguments: Any, trainer: Mapping[str, Any], key: str) -> bool:
    default = next((field.default for field in dataclasses.fields(arguments) if field.name == key), None)
    return trainer[key] is None or trainer[key] == default


def _check_schedule(arguments: Any) -> None:
    kind = getattr(arguments.lr_scheduler_type, "value", arguments.lr_scheduler_type)
    if kind == "constant" and (steps := arguments.get_warmup_steps(arguments.max_steps)):
        raise ConfigError(
            f"trainer.warmup_steps: a constant learning rate has none, got {steps}: "
            "set trainer.lr_scheduler_type=constant_with_warmup, or leave it out"
        )
    if kind.startswith("constant") and arguments.lr_scheduler_kwargs:
        raise ConfigError(
            "trainer.lr_scheduler_kwargs: a constant learning rate takes none; "
            f"set trainer.lr_scheduler_type as well, or leave it out: got {arguments.lr_scheduler_kwargs!r}"
        )


def _check_optimizer(arguments: Any, trainer: Mapping[str, Any]) -> None:
    """Change each setting of the optimizer in turn: one that changes nothing is not read."""
    name = getattr(arguments.optim, "value", arguments.optim)
    others = {
        "adam_beta1": arguments.adam_beta1 / 2,
        "adam_beta2": arguments.adam_beta2 / 2,
        "adam_epsilon": arguments.adam_epsilon * 2,
        "optim_target_modules": None,
    }
    for key, other in others.items():
        if key in trainer and not _is_default(arguments, trainer, key) and not _matters(arguments, key, other):
            raise ConfigError(f"trainer.{key}: the optimizer {name!r} does not read it: leave it out")
    words = [word.partition("=") for word in (arguments.optim_args or "").replace(" ", "").split(",") if word]
    given = {key: value for key, _, value in words}
    if len(given) < len(words):
        raise ConfigError(f"trainer.optim_args: a key is given twice in {arguments.optim_args!r}: give it once")
    for key in given:
        if key == "weight_decay":
            raise ConfigError("trainer.optim_args: weight_decay has no effect there: use trainer.weight_decay")
        if not _matters(arguments, "optim_args", ",".join(f"{k}={'?' if k == key else v}" for k, v in given.items())):
            raise ConfigError(
                f"trainer.optim_args: the optimizer {name!r} does not read {key!r}: leave it out"
                f"{did_you_mean(key, _ITS_OWN)}; settings of their own are {', '.join(f'trainer.{each}' for each in _ITS_OWN)}"
            )


def _matters(arguments: Any, key: str, value: Any) -> bool:
    """Whether another optimizer, or none, is made with another value."""
    changed = copy.copy(arguments)
    setattr(changed, key, value)
    try:
        return _made(changed) != _made(arguments)
    except Exception:  # it was read, and is nothing that the optimizer takes
        return True


def _made(arguments: Any) -> str:
    from torch.nn import Linear
    from transformers import Trainer

    model: Any = Linear(1, 1, bias=False)
    model.weight.data.zero_()
    return repr(Trainer.get_optimizer_cls_and_kwargs(arguments, model))
