"""The optimizer, the schedule and the way of generating that a run's settings ask for, made once before the run.

Most of what these settings can get wrong only transformers knows: a name that needs a package, an argument that its optimizer
does not take, a schedule that wants keywords. So it is asked to make them, of a model with one weight.
"""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any

from entrostat.errors import ConfigError, HostError, did_you_mean

_TRIED = 50
_FARTHEST = 1e5
"""Steps of the trial of an optimizer, and the largest one that is no accident, in learning rates."""
ONE_COMPLETION = ("num_return_sequences", "num_beams", "num_beam_groups")
_BY_THE_TOKENIZER = "the policy's tokenizer decides it, and TRL's mask goes by that"
_PLAIN = "TRL takes the tokens alone"
_BEAMS = "it is of beam search, and every row is sampled once"
_ASSISTED = "it is of assisted generation, and a run has no assistant"
DECIDED = {
    "max_new_tokens": "use trainer.max_completion_length",
    "max_length": "use trainer.max_completion_length",
    "max_time": "a run that goes by the clock could not be repeated",
    "stop_strings": "TRL gives generation no tokenizer to look for them",
    "assistant_early_exit": "it is for one prompt at a time",
    "token_healing": "TRL gives generation no tokenizer",
    "low_memory": "it is of contrastive search, and every row is sampled once",
    **dict.fromkeys(("early_stopping", "length_penalty", "diversity_penalty", "constraints", "force_words_ids"), _BEAMS),
    **dict.fromkeys(
        ("num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold", "max_matching_ngram_size",
         "assistant_lookbehind", "target_lookbehind", "is_assistant"), _ASSISTED
    ),
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"), _BY_THE_TOKENIZER),
    **dict.fromkeys(
        ("return_dict_in_generate", "output_attentions", "output_hidden_states", "output_logits", "output_scores"), _PLAIN
    ),
}  # fmt: skip
"""Options of generation that a run decides -> what to say of them."""
_TYPES = {
    **dict.fromkeys(("temperature", "top_p", "min_p"), "a number"),
    "top_k": "a whole number",
    "use_cache": "true or false",
}


def check_parts(arguments: Any) -> None:
    """Refuse settings of which no optimizer, schedule or way of generating can be made.

    Args:
        arguments: TRL's configuration object, whole.

    Raises:
        ConfigError: with the dotted key and what transformers says.
    """
    _check_optimizer(arguments)
    _check_generation(arguments)
    _check_checkpointing(arguments)
    _check_compiler(arguments)


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
    for key, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"trainer.optim_args: {key} must be a finite number, got {value}")
    if arguments.optim_args and arguments.learning_rate > 0:
        _check_descent(arguments, model.weight, optimizer)
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


def _check_descent(arguments: Any, weight: Any, optimizer: Any) -> None:
    """What the optimizer's own arguments make of a gradient of 1, and then of none: it must go down, and come to rest.

    torch checks few of them: a smoothing of 7 takes the root of a negative number in the first step, a momentum of 5 grows
    without end.
    """
    import torch

    moves = []
    for step in range(2 * _TRIED):
        with torch.no_grad():
            weight.zero_()
        weight.grad = torch.full_like(weight, float(step < _TRIED))
        optimizer.step()
        moves.append(-weight.item() / arguments.learning_rate)
    pushed, left = moves[_TRIED - 1], moves[-1]
    if not all(math.isfinite(move) for move in moves) or abs(left) > abs(pushed) or max(map(abs, moves)) > _FARTHEST:
        what = "diverges"
    elif pushed <= 0:
        what = "goes up the gradient, away from the reward"
    elif pushed < 1 / _FARTHEST:
        what = "stands still"
    else:
        return
    raise ConfigError(
        f"trainer.optim_args: with {arguments.optim_args!r} the optimizer {arguments.optim.value!r} {what}, whatever the model: "
        f"under a gradient of 1 its step {_TRIED} is {pushed:.3g} times the learning rate"
    )


def _check_generation(arguments: Any) -> None:
    import torch
    from transformers import GenerationConfig
    from transformers.generation.configuration_utils import ALL_CACHE_IMPLEMENTATIONS

    from entrostat.hosts.trl.sampling import check_options

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
        if key in DECIDED and options[key] is not None:
            raise ConfigError(f"trainer.generation_kwargs: {key}: {DECIDED[key]}: leave it out, got {options[key]!r}")
        if key in _TYPES and not _is_a(options[key], _TYPES[key]):
            raise ConfigError(f"trainer.generation_kwargs: {key} must be {_TYPES[key]}, got {options[key]!r}")
    cache = options.get("cache_implementation", arguments.cache_implementation)
    if cache is not None and cache not in ALL_CACHE_IMPLEMENTATIONS:
        raise ConfigError(
            f"trainer.cache_implementation: transformers has no cache {cache!r}"
            f"{did_you_mean(str(cache), ALL_CACHE_IMPLEMENTATIONS)}; it has {', '.join(ALL_CACHE_IMPLEMENTATIONS)}"
        )
    if cache is not None and "offloaded" in cache and not torch.cuda.is_available():
        raise ConfigError(f"trainer.cache_implementation: {cache!r} needs a GPU to offload from: leave it out")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of flags that have no effect: the run itself says so
            GenerationConfig(**options).validate()
    except Exception as error:
        raise _refused("generation_kwargs", options, error) from error
    penalty = {"repetition_penalty": arguments.repetition_penalty}
    for key, given in (("generation_kwargs", options), ("repetition_penalty", penalty)):
        try:
            check_options(given)
        except HostError as error:
            raise ConfigError(f"trainer.{key}: {error}") from error


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool) or value is None:
        return value is None or kind == "true or false"
    return kind != "true or false" and (isinstance(value, int) or (isinstance(value, float) and kind == "a number"))


def _check_checkpointing(arguments: Any) -> None:
    """Of the gradient's checkpoints, whose arguments torch looks at in the first step."""
    from torch.utils.checkpoint import checkpoint

    named = [each for each in inspect.signature(checkpoint).parameters.values() if each.kind is each.KEYWORD_ONLY]
    known = ["preserve_rng_state", *(each.name for each in named)]
    for setting in ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs"):  # the new name and the old
        for key in getattr(arguments, setting, None) or {}:
            if key not in known:
                raise ConfigError(
                    f"trainer.{setting}: torch has no argument {key!r}{did_you_mean(str(key), known)}; "
                    f"it has {', '.join(known)}"
                )


def _check_compiler(arguments: Any) -> None:
    from accelerate.utils.dataclasses import DynamoBackend

    known = [each.value.lower() for each in DynamoBackend]
    backend = arguments.torch_compile_backend
    if backend is not None and str(backend).lower() not in known:
        raise ConfigError(
            f"trainer.torch_compile_backend: torch has no compiler {backend!r}{did_you_mean(str(backend), known)}; "
            f"use {', '.join(known)}"
        )
    if arguments.torch_compile and arguments.device.type == "cpu" and str(backend or "inductor").lower() == "inductor":
        raise ConfigError(
            "trainer.torch_compile: on a CPU the compiler takes longer than the steps that it would speed up, anew for "
            "completions of another length: leave it out"
        )


def _refused(key: str, value: Any, error: Exception) -> ConfigError:
    said = " ".join(str(error).split()) or type(error).__name__
    return ConfigError(f"trainer.{key}: transformers can make nothing of {getattr(value, 'value', value)!r}: {said}")
