"""Whether task, policy and target go together: refused before anything is loaded or trained."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from entrostat.errors import ConfigError, DataError, HostError
from entrostat.models.folder import checked
from entrostat.run.arguments import BUILT_IN
from entrostat.tasks.base import score_all

if TYPE_CHECKING:
    from entrostat.run.config import RunConfig
    from entrostat.tasks.base import Problem

_ASKED = 16  # problems by which a task is tried


def problems(task: Any, config: RunConfig) -> list[Problem]:
    """A few training problems; `ConfigError` where a split that the run takes from has no problem."""
    try:
        posed: list[Problem] = task.problems("train", 4, config.seed)
        for split in config.eval.splits if config.eval.problems else ():
            task.problems(split, 1, config.seed)
    except (ConfigError, DataError) as error:
        raise ConfigError(f"task: {error}") from error
    return posed


def alphabet(problems: Sequence[Problem], config: RunConfig) -> None:
    """`ConfigError` where the tiny policy cannot read the prompts of some problems."""
    from entrostat.models.tokenizer import COUNTDOWN_ALPHABET as ALPHABET

    strange = sorted({letter for problem in problems for letter in problem.prompt} - set(ALPHABET))
    if strange:
        raise ConfigError(
            f"model: {config.model!r} reads only its own alphabet, {ALPHABET!r}, and the prompts of {config.task.name!r} hold "
            f"{strange[0]!r}: take model=smollm2, or a folder with a transformers model"
        )


def _problems_per_prompt(config: RunConfig) -> int:
    count: int = config.task.options.get("problems_per_prompt", 1)
    return count


def unused_to_several(config: RunConfig) -> str | None:
    """What to say where a tiny policy gets several problems in a prompt, of which it has seen one at a time."""
    count = _problems_per_prompt(config)
    if config.model not in BUILT_IN or count == 1:
        return None
    return (
        f"{config.model!r} learned from one problem a prompt: of {count} it answers the first alone, and rarely solves it. "
        "Take a policy that follows instructions, such as smollm2, on a task in words"
    )


def earned_by_echo(task: Any, problems: Sequence[Problem]) -> str | None:
    """The warning if repeating a question earns the reward, since a policy learns that first; None if it does not."""
    asked = problems[:_ASKED]
    questions = [problem.question or problem.prompt for problem in asked]
    values = score_all(task, asked, questions).values
    if not (echoes := [place for place, value in enumerate(values) if value > 0.5]):
        return None
    first = echoes[0]
    return (
        f"{len(echoes)} of the first {len(asked)} questions earn the reward if the answer only repeats them, such as "
        f"{questions[first][:60]!r} where {asked[first].answer[:60]!r} is right: the policy may learn to repeat the question. "
        "Ask in words, not as a formula that equals the answer"
    )


class Limits(NamedTuple):
    """What is known of a policy before it is loaded; None where it is not."""

    vocabulary: int | None = None
    context: int | None = None


def policy(model: str) -> Limits:
    """A policy's vocabulary and context; `ConfigError` where none can be loaded by this name."""
    if model in BUILT_IN:
        from entrostat.models.tiny import CONTEXT
        from entrostat.models.tokenizer import COUNTDOWN_ALPHABET as ALPHABET

        return Limits(len(ALPHABET) + 2, CONTEXT)  # with padding and end
    config = None if model == "smollm2" else checked(model)
    if config is None:
        return Limits()
    known = (getattr(config.get_text_config(), name, None) for name in ("vocab_size", "max_position_embeddings"))
    return Limits(*(value if isinstance(value, int) and value > 0 else None for value in known))


def machine(config: RunConfig) -> None:
    """`ConfigError` for threads and workers that no machine of this kind could use: they would only stop it."""
    most = 4 * (os.cpu_count() or 1)
    workers = config.trainer.get("dataloader_num_workers") or 0
    for key, count in (("threads", config.threads or 0), ("trainer.dataloader_num_workers", workers)):
        if count > most:
            raise ConfigError(f"{key}: this machine has {os.cpu_count()} cores: must be at most {most}, got {count}")


def length(config: RunConfig, context: int | None) -> None:
    """`ConfigError` where completions alone may be longer than the policy's context."""
    asked = config.trainer["max_completion_length"]
    if context is not None and asked is not None and asked > context:
        several = _problems_per_prompt(config)
        raise ConfigError(
            f"trainer.max_completion_length: must be at most {context}, the context of {config.model!r}: got {asked}"
            + (f", for {several} problems a prompt: lower task.problems_per_prompt" if several > 1 else "")
        )


def target(method: Any, size: int) -> None:
    """`ConfigError` where a target lies above log V."""
    from entrostat.core.control import EntropyControl

    try:
        EntropyControl(method, size)
    except ConfigError as error:
        raise ConfigError(f"method.target: {error}") from error


def settings(method: Any, arguments: Any) -> None:
    """`ConfigError` where the trainer is given what the method replaces: an end of its clip range, or its advantages."""
    from entrostat.core.host import check_ignored, check_replaced
    from entrostat.hosts.trl.advantages import advantages_given
    from entrostat.hosts.trl.loss import LOSSES, clip_given

    check_ignored(method, advantages_given(arguments, "trainer."))
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
