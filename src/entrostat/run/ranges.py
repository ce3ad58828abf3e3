"""Values of TRL's settings that it accepts and then fails on, in the middle of a run or at its start."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from entrostat.core.config import did_you_mean
from entrostat.errors import ConfigError

_Check = tuple[str, Callable[[Any], bool]]

_POSITIVE: _Check = ("above 0", lambda x: x > 0)
_NOT_NEGATIVE: _Check = ("0 or more", lambda x: x >= 0)
_SHARE: _Check = ("between 0 and 1", lambda x: 0 <= x <= 1)
_ABOVE_ZERO_SHARE: _Check = ("above 0 and at most 1", lambda x: 0 < x <= 1)
_DECAY: _Check = ("at least 0 and below 1", lambda x: 0 <= x < 1)
_COUNT: _Check = ("1 or more", lambda x: x >= 1)

RANGES: dict[str, _Check] = {
    **dict.fromkeys(
        (
            "temperature",
            "adam_epsilon",
            "repetition_penalty",
            "delta",
            "vllm_importance_sampling_cap",
            "sapo_temperature_neg",
            "sapo_temperature_pos",
            "vespo_k_neg",
            "vespo_k_pos",
            "vespo_lambda_neg",
            "vespo_lambda_pos",
        ),
        _POSITIVE,
    ),
    **dict.fromkeys(
        (
            "learning_rate",
            "weight_decay",
            "max_grad_norm",
            "beta",
            "epsilon",
            "epsilon_high",
            "warmup_steps",
            "top_k",
            "neftune_noise_alpha",
            "dataloader_num_workers",
        ),
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(
        (
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "max_completion_length",
            "num_iterations",
            "steps_per_generation",
            "generation_batch_size",
            "save_steps",
            "save_total_limit",
            "pad_to_multiple_of",
            "torch_empty_cache_steps",
            "dataloader_prefetch_factor",
            "ref_model_sync_steps",
        ),
        _COUNT,
    ),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), _DECAY),
    **dict.fromkeys(("min_p", "ref_model_mixup_alpha"), _SHARE),
    **dict.fromkeys(("top_p", "top_entropy_quantile"), _ABOVE_ZERO_SHARE),
    "num_generations": ("2 or more: the advantage compares completions of one prompt", lambda x: x >= 2),
}  # fmt: skip
LOG_LEVELS = ("detail", "debug", "info", "warning", "error", "critical", "passive")
CHOICES = {
    "loss_type": ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"),
    "scale_rewards": ("group", "batch", "none"),
    "importance_sampling_level": ("token", "sequence"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    **dict.fromkeys(("log_level", "log_level_replica"), LOG_LEVELS),
    "dataloader_multiprocessing_context": ("fork", "spawn", "forkserver"),
}
INTEGRATIONS = (
    "none", "all", "azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub", "dvclive", "flyte", "kubeflow", "mlflow",
    "neptune", "swanlab", "tensorboard", "trackio", "wandb",
)  # fmt: skip
LARGEST = 2**31 - 1


def check_values(settings: Mapping[str, Any], where: str = "trainer.") -> None:
    """Refuse what is out of range before TRL sees it; `where` stands before the name of a setting in what is said."""
    for key, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{where}{key}: must be a finite number, got {value}")
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ConfigError(f"{where}{key}: must be at most {LARGEST:,}, got {value}")
        if key in RANGES and not RANGES[key][1](value):
            raise ConfigError(f"{where}{key}: must be {RANGES[key][0]}, got {value}")
    for key, choices in CHOICES.items():
        if (value := settings.get(key)) is not None and value not in choices:
            raise ConfigError(
                f"{where}{key}: TRL has no {value!r}{did_you_mean(str(value), choices)}; use {', '.join(choices)}"
            )
    if isinstance(sampling := settings.get("generation_kwargs"), Mapping):
        check_values(sampling, "trainer.generation_kwargs: ")


def check(arguments: Any, trainer: Mapping[str, Any]) -> None:
    """Refuse names that nothing answers to, and what is not installed."""
    if (strategy := trainer.get("save_strategy", "steps")) != "steps":
        raise ConfigError(
            f"trainer.save_strategy: checkpoints come every trainer.save_steps steps; use 'steps', got {strategy!r}"
        )
    if trainer.get("remove_unused_columns"):
        raise ConfigError(
            "trainer.remove_unused_columns: must be false: rewards are computed from the prompts' columns"
        )
    if trainer.get("include_num_input_tokens_seen") not in (None, False, "no"):
        raise ConfigError(
            "trainer.include_num_input_tokens_seen: leave it out; the column num_tokens counts them already"
        )
    if trainer.get("sync_ref_model") and not trainer.get("beta"):
        raise ConfigError("trainer.sync_ref_model: there is no reference policy to synchronize while trainer.beta is 0")
    if (weights := trainer.get("reward_weights")) is not None and len(weights) != 1:
        raise ConfigError(f"trainer.reward_weights: a run has one reward, so one weight; got {len(weights)}")
    asked = trainer.get("report_to")
    for name in [asked] if isinstance(asked, str) else asked or []:
        if name not in INTEGRATIONS:
            raise ConfigError(
                f"trainer.report_to: nothing is called {name!r}{did_you_mean(str(name), INTEGRATIONS)}; "
                f"use {', '.join(INTEGRATIONS)}"
            )
        package = {"azure_ml": "azureml", "dagshub": "mlflow", "flyte": "flytekit", "kubeflow": "kubeflow"}.get(
            name, name
        )
        if name not in ("none", "all", "tensorboard") and find_spec(package) is None:
            raise ConfigError(f"trainer.report_to: {name!r} is not installed: pip install {package}")
        if name == "tensorboard" and find_spec("tensorboard") is None and find_spec("tensorboardX") is None:
            raise ConfigError("trainer.report_to: 'tensorboard' is not installed: pip install tensorboard")
    for key, package in {"use_vllm": "vllm", "use_liger_kernel": "liger_kernel", "deepspeed": "deepspeed"}.items():
        if trainer.get(key) and find_spec(package) is None:
            raise ConfigError(
                f"trainer.{key}: {package} is not installed: pip install {package.replace('_', '-')}, or leave it out"
            )
    accelerator = arguments.accelerator_config
    if accelerator.dispatch_batches or "num_steps" in (accelerator.gradient_accumulation_kwargs or {}):
        raise ConfigError(
            "trainer.accelerator_config: dispatch_batches and gradient_accumulation_kwargs' num_steps would group the "
            "completions otherwise than TRL counts them: leave them out; use trainer.gradient_accumulation_steps"
        )
    sampled = arguments.generation_batch_size // max(1, arguments.num_generations)
    if sampled < 1:
        raise ConfigError(
            f"trainer.num_generations: {arguments.num_generations} completions per prompt do not fit into a batch of "
            f"{arguments.generation_batch_size}: choose fewer, or a larger trainer.per_device_train_batch_size"
        )
