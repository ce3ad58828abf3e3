"""Whether task, policy and target go together: refused before anything is loaded or trained."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from entrostat.errors import ConfigError, DataError, HostError
from entrostat.models.folder import CHOICES, fault_of, is_folder
from entrostat.run.arguments import BUILT_IN

if TYPE_CHECKING:
    from entrostat.run.config import RunConfig
    from entrostat.tasks.base import Problem


def problems(task: Any, config: RunConfig) -> None:
    """`ConfigError` where a split that the run takes from has no problem."""
    for split in {"train": None, **dict.fromkeys(config.eval.splits if config.eval.problems else ())}:
        try:
            task.problems(split, 1, config.seed)
        except (ConfigError, DataError) as error:
            raise ConfigError(f"task: {error}") from error


def alphabet(task: Any, config: RunConfig) -> None:
    """A look at a few problems; `ConfigError` where the tiny policy cannot read them."""
    if config.task.name != "countdown":  # which is what it was made for
        alphabet_of(task.problems("train", 4, config.seed), config)


def alphabet_of(problems: Sequence[Problem], config: RunConfig) -> None:
    """`ConfigError` where the tiny policy cannot read the prompts of some problems."""
    from entrostat.models.tokenizer import COUNTDOWN_ALPHABET as ALPHABET

    strange = sorted({letter for problem in problems for letter in problem.prompt} - set(ALPHABET))
    if strange:
        raise ConfigError(
            f"model: {config.model!r} reads only its own alphabet, {ALPHABET!r}, and the prompts of {config.task.name!r} hold "
            f"{strange[0]!r}: take model=smollm2, or a folder with a transformers model"
        )


def policy(model: str) -> None:
    """`ConfigError` where no policy can be loaded by this name: no such folder, no model in it, a part of it missing."""
    if model not in (*BUILT_IN, "smollm2") and (why := fault_of(model)) is not None:
        raise ConfigError(f"model: {why}; {CHOICES}")


def machine(config: RunConfig) -> None:
    """`ConfigError` for threads and workers that no machine of this kind could use: they would only stop it."""
    most = 4 * (os.cpu_count() or 1)
    workers = config.trainer.get("dataloader_num_workers") or 0
    for key, count in (("threads", config.threads or 0), ("trainer.dataloader_num_workers", workers)):
        if count > most:
            raise ConfigError(f"{key}: this machine has {os.cpu_count()} cores: must be at most {most}, got {count}")


def length(config: RunConfig) -> None:
    """`ConfigError` where completions alone may be longer than the policy's context."""
    most, asked = context(config.model), config.trainer["max_completion_length"]
    if most is not None and asked is not None and asked > most:
        raise ConfigError(
            f"trainer.max_completion_length: must be at most {most}, the context of {config.model!r}: got {asked}"
        )


def context(model: str) -> int | None:
    """How many tokens a policy reads at most, where that is known without loading it."""
    if model in BUILT_IN:
        from entrostat.models.tiny import CONTEXT

        return CONTEXT
    config = _text_config(model)
    found = getattr(config, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def vocabulary(model: str) -> int | None:
    """The size of a policy's vocabulary where that is known without loading it."""
    if model in BUILT_IN:
        from entrostat.models.tokenizer import COUNTDOWN_ALPHABET as ALPHABET

        return len(ALPHABET) + 2  # padding and end
    found = getattr(_text_config(model), "vocab_size", None)
    return found if isinstance(found, int) else None


def _text_config(model: str) -> Any:
    """A folder's configuration; None where there is none, and loading it says what is wrong."""
    if not is_folder(model):
        return None
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model, local_files_only=True).get_text_config()
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def target(method: Any, size: int) -> None:
    """`ConfigError` where a target lies above log V."""
    from entrostat.core.control import EntropyControl

    try:
        EntropyControl(method, size)
    except ConfigError as error:
        raise ConfigError(f"method.target: {error}") from error


def clip(method: Any, arguments: Any) -> None:
    """`ConfigError` where method and trainer are given different ends of one clip range."""
    from entrostat.core.host import check_replaced
    from entrostat.hosts.trl.loss import LOSSES, clip_given

    loss = LOSSES[getattr(arguments, "loss_type", "rloo")]
    try:
        check_replaced(method, clip_given(arguments, loss, "trainer."))
    except HostError as error:
        raise ConfigError(str(error)) from error


def suppressed(config: RunConfig, size: int | None) -> None:
    """`ConfigError` where tokens that are not to be sampled are none of the vocabulary's, or all of them."""
    tokens = (config.trainer.get("generation_kwargs") or {}).get("suppress_tokens")
    if tokens is None:
        return
    last = math.inf if size is None else size - 1
    if not isinstance(tokens, list) or not all(
        isinstance(each, int) and not isinstance(each, bool) and 0 <= each <= last for each in tokens
    ):
        raise ConfigError(
            "trainer.generation_kwargs: suppress_tokens: must be a list of token ids, whole numbers from 0 to "
            f"{'the last of the vocabulary' if size is None else last}, got {tokens!r}"
        )
    if size is not None and len(set(tokens)) == size:
        raise ConfigError("trainer.generation_kwargs: suppress_tokens: names every token: nothing is left to sample")
