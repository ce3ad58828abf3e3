"""Values of TRL's settings that it accepts and then fails on, in the middle of a run or at its start."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from entrostat.errors import ConfigError, did_you_mean

_Check = tuple[str, Callable[[Any], bool]]

_POSITIVE: _Check = ("above 0", lambda x: x > 0)
_NOT_NEGATIVE: _Check = ("0 or more", lambda x: x >= 0)
_SHARE: _Check = ("between 0 and 1", lambda x: 0 <= x <= 1)
_ABOVE_ZERO_SHARE: _Check = ("above 0 and at most 1", lambda x: 0 < x <= 1)
_DECAY: _Check = ("at least 0 and below 1", lambda x: 0 <= x < 1)
LEAST = 1e-3
"""The lowest temperature that is not greedy; below it logits overflow."""
_COUNT: _Check = ("1 or more", lambda x: x >= 1)

RANGES: dict[str, _Check] = {
    **dict.fromkeys(
        (
            "adam_epsilon",
            "repetition_penalty",
            "off_policy_mask_threshold",
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
            "router_aux_loss_coef",
            "num_completions_to_print",
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
            "ddp_timeout",
            "ddp_bucket_cap_mb",
            "vllm_server_port",
            "vllm_group_port",
            "vllm_tensor_parallel_size",
            "vllm_max_model_length",
        ),
        _COUNT,
    ),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), _DECAY),
    **dict.fromkeys(("min_p", "ref_model_mixup_alpha"), _SHARE),
    **dict.fromkeys(("top_p", "top_entropy_quantile", "vllm_gpu_memory_utilization"), _ABOVE_ZERO_SHARE),
    "temperature": (f"{LEAST} or more", lambda x: x >= LEAST),
    "num_generations": ("2 or more: the advantage compares completions of one prompt", lambda x: x >= 2),
}  # fmt: skip
MOST: dict[str, float] = {
    "temperature": 100,
    "learning_rate": 10,
    "adam_epsilon": 1,
    "beta": 1000,
    "neftune_noise_alpha": 1000,
    "repetition_penalty": 100,
    "num_iterations": 1000,
    "epsilon": 1,
    **dict.fromkeys(("epsilon_high", "delta", "sapo_temperature_neg", "sapo_temperature_pos"), 1000),
    **dict.fromkeys(("vllm_server_port", "vllm_group_port"), 65_535),
    **dict.fromkeys(("pad_to_multiple_of", "num_generations"), 65_536),
    **dict.fromkeys(("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation"), 65_536),
    **dict.fromkeys(("max_completion_length", "generation_batch_size"), 1_000_000),
}
"""Setting -> the largest value that can be meant: beyond it a run stands still, diverges at once or outgrows any memory."""
LOG_LEVELS = ("detail", "debug", "info", "warning", "error", "critical", "passive")
CHOICES = {
    "loss_type": ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"),
    "scale_rewards": ("group", "batch", "none"),
    "importance_sampling_level": ("token", "sequence"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    **dict.fromkeys(("log_level", "log_level_replica"), LOG_LEVELS),
    "dataloader_multiprocessing_context": ("fork", "spawn", "forkserver"),
    "vllm_mode": ("server", "colocate"),
    "vllm_model_impl": ("auto", "vllm", "transformers", "terratorch"),
    "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
    "torch_compile_mode": ("default", "lite", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
}
_CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo")
INTEGRATIONS = (
    "none", "all", "azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub", "dvclive", "flyte", "kubeflow", "mlflow",
    "neptune", "swanlab", "tensorboard", "trackio", "wandb",
)  # fmt: skip
LARGEST = 2**31 - 1


def check_values(settings: Mapping[str, Any], where: str = "trainer.") -> None:
    """Refuse what is out of range before TRL sees it; `where` stands before the name of a setting in what is said."""
    for key, value in settings.items():
        for each in value if isinstance(value, list) else value.values() if isinstance(value, Mapping) else [value]:
            if isinstance(each, float) and not math.isfinite(each):
                raise ConfigError(f"{where}{key}: must be a finite number, got {each}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ConfigError(f"{where}{key}: must be at most {LARGEST:,}, got {value}")
        if key in RANGES and not RANGES[key][1](value):
            raise ConfigError(f"{where}{key}: must be {RANGES[key][0]}, got {value}")
        if key in MOST and value > MOST[key]:
            raise ConfigError(f"{where}{key}: must be at most {MOST[key]:,}, got {value}")
    for key, choices in CHOICES.items():
        if (value := settings.get(key)) is not None and value not in choices:
            raise ConfigError(
                f"{where}{key}: TRL has no {value!r}{did_you_mean(str(value), choices)}; use {', '.join(choices)}"
            )
    if isinstance(sampling := settings.get("generation_kwargs"), Mapping):
        check_values(sampling, "trainer.generation_kwargs: ")


def check_together(arguments: Any, trainer: Mapping[str, Any]) -> None:
    """Refuse settings that contradict each other or the length of the run."""
    if (shrink := arguments.learning_rate * arguments.weight_decay) >= 1:
        raise ConfigError(
            f"trainer.weight_decay: each step multiplies the weights by 1 - learning_rate * weight_decay = {1 - shrink:.3g}, "
            f"which must be above 0: got {arguments.weight_decay} at a learning rate of {arguments.learning_rate}"
        )
    warmup = arguments.get_warmup_steps(arguments.max_steps)
    if warmup > arguments.max_steps:
        raise ConfigError(
            f"trainer.warmup_steps: the run ends after {arguments.max_steps} steps, before its learning rate is reached: "
            f"got {warmup}"
        )
    delta, high = getattr(arguments, "delta", None), _upper(arguments)
    if delta is not None and arguments.loss_type in _CLIPPED and delta <= 1 + high:
        raise ConfigError(
            f"trainer.delta: bounds the importance ratio above the clip at 1 + epsilon = {1 + high:g}, so must be larger: "
            f"got {delta}"
        )
    clip = trainer.get("reward_clip_range")
    if clip is not None and not clip[0] < clip[1]:
        raise ConfigError(
            f"trainer.reward_clip_range: must be [lowest, highest], the first below the second, got {clip}"
        )
    least, most = (getattr(arguments, f"vllm_importance_sampling_clip_{end}", None) for end in ("min", "max"))
    if least is not None and most is not None and least >= most:
        raise ConfigError(
            f"trainer.vllm_importance_sampling_clip_min: must be below vllm_importance_sampling_clip_max = {most}, got {least}"
        )


def _upper(arguments: Any) -> float:
    high = arguments.epsilon_high
    return float(arguments.epsilon if high is None else high)


def check(arguments: Any, trainer: Mapping[str, Any]) -> None:
    """Refuse what a run decides itself, names that nothing answers to, what is not installed, batches that cannot be."""
    _check_decided(trainer)
    _check_integrations(trainer.get("report_to"))
    _check_installed(arguments, trainer)
    _check_batches(arguments)


def _check_decided(trainer: Mapping[str, Any]) -> None:
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


def _check_integrations(asked: Any) -> None:
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


def _check_installed(arguments: Any, trainer: Mapping[str, Any]) -> None:
    for key, package in {"use_vllm": "vllm", "use_liger_kernel": "liger_kernel", "deepspeed": "deepspeed"}.items():
        if trainer.get(key) and find_spec(package) is None:
            raise ConfigError(
                f"trainer.{key}: {package} is not installed: pip install {package.replace('_', '-')}, or leave it out"
            )
    for key in ("use_transformers_continuous_batching", "use_transformers_paged"):
        if trainer.get(key) and arguments.device.type == "cpu":
            raise ConfigError(f"trainer.{key}: its paged attention needs a GPU: leave it out")


def _check_batches(arguments: Any) -> None:
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
