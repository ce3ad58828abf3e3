"""How often a policy solves a task: avg@k and pass@k.

Entropy is worth holding because it keeps pass@k alive while avg@k rises, so the two are always measured together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from entrostat.errors import ConfigError, DataError
from entrostat.tasks.base import Problem, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class EvalResult:
    """Scores of `samples` completions for each of `problems` problems.

    `avg_at_k` is the mean score over all of them (avg@k with k = samples); `pass_at_k[k]` the estimated chance that at
    least one of k completions is fully right (score 1), averaged over problems.
    """

    avg_at_k: float
    pass_at_k: dict[int, float]
    problems: int
    samples: int


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k): the chance that k of n samples, drawn without replacement, include a correct one.

    Unbiased for the chance that k fresh samples do, where 1 - (1 - c/n)^k is not (Chen et al. 2021, arXiv 2107.03374,
    equation 1). Raises `ConfigError` unless 0 <= correct <= samples and 1 <= k <= samples.
    """
    if not 0 <= correct <= samples:
        raise ConfigError(f"correct is {correct} of {samples} samples; it must lie between 0 and that")
    if not 1 <= k <= samples:
        raise ConfigError(f"k is {k}; pass@k needs 1 <= k <= samples, which is {samples}")
    all_wrong = 1.0
    for i in range(k):  # the ratio of the binomials, factor by factor; 0 as soon as too few wrong ones are left
        all_wrong *= max(samples - correct - i, 0) / (samples - i)
    return 1.0 - all_wrong


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: Sequence[Problem],
    *,
    samples: int = 8,
    ks: Sequence[int] = (1, 8),
    temperature: float | None = None,
    max_new_tokens: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> EvalResult:
    """Sample completions and score them. Training goes on afterwards as if nothing had happened.

    `temperature` and `max_new_tokens` default to the task's hints. `batch_size` counts completions; it changes speed
    and memory, and which random numbers each completion gets. Raises `ConfigError` when a k exceeds `samples` or a size
    is not positive, and `DataError` when there are no problems.
    """
    from entrostat.tasks.sampling import sample, undisturbed

    if samples < 1 or batch_size < 1:
        raise ConfigError(f"samples is {samples} and batch_size is {batch_size}; both must be 1 or more")
    for k in ks:
        pass_at_k(samples, 0, k)  # refuse an impossible k before spending time on sampling
    if not problems:
        raise DataError("there are no problems to evaluate on; ask the task for at least one")

    # Prompts of one length go together, so that little is padded.
    queue = sorted(list(range(len(problems))) * samples, key=lambda index: len(problems[index].prompt))
    scores: list[list[float]] = [[] for _ in problems]
    with undisturbed(model, seed):
        for start in range(0, len(queue), batch_size):
            batch = queue[start : start + batch_size]
            drawn = sample(
                model,
                tokenizer,
                [problems[index].prompt for index in batch],
                max_new_tokens=task.max_completion_tokens if max_new_tokens is None else max_new_tokens,
                temperature=task.temperature if temperature is None else temperature,
            )
            for index, text in zip(batch, drawn.texts, strict=True):
                scores[index].append(task.score(problems[index], text))
    return summarise(scores, ks)


def summarise(scores: Sequence[Sequence[float]], ks: Sequence[int]) -> EvalResult:
    """The result for a table of scores with one row per problem and one column per sample."""
    samples = len(scores[0])
    correct = [sum(score >= 1.0 for score in row) for row in scores]
    return EvalResult(
        avg_at_k=sum(map(sum, scores)) / (samples * len(scores)),
        pass_at_k={k: sum(pass_at_k(samples, c, k) for c in correct) / len(scores) for k in ks},
        problems=len(scores),
        samples=samples,
    )
