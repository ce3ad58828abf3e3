"""What a verifiable task is: problems with prompts, and a score for any completion.

A task is a source of prompts with a checker beside it. Nothing here knows about models, so that importing a task stays
light and a score can be computed anywhere.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from entrostat.errors import ConfigError

Split = Literal["train", "eval"]
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One prompt and what is needed to check a completion of it.

    `answer` is one right answer (there may be others); `meta` holds whatever the task's checker needs; `question` is what
    the prompt asks, without the format around it, where it has one. All are plain JSON values, so that
    `dataclasses.asdict` makes a row of a data set.
    """

    prompt: str
    answer: str
    meta: dict[str, Any] = field(default_factory=dict)
    question: str = ""


@dataclass(frozen=True)
class Scored:
    """Scores of completions, in order, and how many answers could not be scored, by reason; those score 0.

    Where a prompt holds several problems, `parts` has the score of each, and the completion's is their mean.
    """

    values: list[float]
    failed: dict[str, int]
    parts: list[list[float]] | None = None

    @property
    def each(self) -> list[list[float]]:
        """Of each completion, the score of each problem that it answers."""
        return [[value] for value in self.values] if self.parts is None else self.parts


@runtime_checkable
class Task(Protocol):
    """A source of problems and the checker of their completions.

    `max_completion_tokens` and `temperature` are hints: a length that leaves room for any right answer, and the
    sampling temperature at which a policy of the intended size solves some problems and not all.
    """

    @property
    def name(self) -> str: ...

    @property
    def max_completion_tokens(self) -> int: ...

    @property
    def temperature(self) -> float: ...

    def problems(self, split: Split, count: int, seed: int) -> list[Problem]:
        """`count` problems of a split; the same arguments give the same list, and the splits share no problem."""
        ...

    def score(self, problem: Problem, completion: str) -> float:
        """The reward of a completion, in [0, 1]. Never raises, and never runs code, whatever the text."""
        ...


def score_all(task: Task, problems: Sequence[Problem], completions: Sequence[str]) -> Scored:
    """The score of each completion; a task that has a `score_all` of its own scores them side by side."""
    together = getattr(task, "score_all", None)
    if together is not None:
        scored: Scored = together(problems, completions)
        return scored
    return Scored([task.score(problem, text) for problem, text in zip(problems, completions, strict=True)], {})


def check_request(split: str, count: int) -> None:
    """Refuse a split that does not exist and a negative count, with `ConfigError`."""
    if split not in ("train", "eval"):
        raise ConfigError(f"split is {split!r}; use 'train' or 'eval'")
    if count < 0:
        raise ConfigError(f"count is {count}; ask for zero or more problems")


def in_eval(key: str, eval_share: float) -> bool:
    """Whether the problem named `key` belongs to the eval split, by a hash that no seed or Python version moves."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") < eval_share * 2**64


def draw(pool: Sequence[T], count: int, seed: int) -> list[T]:
    """`count` items in random order; none twice before every one has come once."""
    rng, drawn = random.Random(seed), list[T]()
    while len(drawn) < count:
        drawn += rng.sample(pool, len(pool))
    return drawn[:count]
