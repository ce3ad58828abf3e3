"""How often a policy solves a task: avg@k, pass@k, and how many problems it solves always, sometimes, never.

One number does not judge a policy whose entropy was held. At the training temperature its completions carry the noise that
was kept; greedy decoding, which is what one would deploy, shows what it knows; pass@k what it can still find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from entrostat.errors import ConfigError, DataError
from entrostat.tasks.base import Problem, Split, Task, score_all

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class EvalResult:
    """Scores of `samples` completions for each of `problems` problems; each counts by itself where a prompt holds several.

    `avg_at_k` is the mean score over all of them (avg@k with k = samples); `pass_at_k[k]` the estimated chance that at
    least one of k completions is fully right (score 1), averaged over problems. `always` and `never` are the shares of
    problems with all and with no completion fully right; the others are solved sometimes, and only they can teach a
    policy whose advantages are relative to a group. `temperature` 0 is greedy, with one completion of each problem.
    `correct` counts the completions of each problem that are fully right: two policies that are judged on the same problems
    are best compared problem by problem.
    """

    avg_at_k: float
    pass_at_k: dict[int, float]
    problems: int
    samples: int
    always: float = 0.0
    never: float = 0.0
    temperature: float = 1.0
    correct: tuple[int, ...] = ()

    @property
    def sometimes(self) -> float:
        """The share of problems with some completions right and some not."""
        return 1.0 - self.always - self.never


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

    `temperature` and `max_new_tokens` default to the task's hints. At temperature 0 all completions of a problem are the
    same one, so one is made, and of `ks` only 1 is kept. `batch_size` counts completions; it changes speed and memory, and
    which random numbers each completion gets. Raises `ConfigError` when a k exceeds `samples` or a size is not positive,
    and `DataError` when there are no problems.
    """
    from entrostat.tasks.sampling import sample, undisturbed

    if samples < 1 or batch_size < 1:
        raise ConfigError(f"samples is {samples} and batch_size is {batch_size}; both must be 1 or more")
    for k in ks:
        pass_at_k(samples, 0, k)  # refuse an impossible k before spending time on sampling
    if not problems:
        raise DataError("there are no problems to evaluate on; ask the task for at least one")

    temperature = task.temperature if temperature is None else temperature
    if temperature == 0:
        samples, ks = 1, [k for k in ks if k == 1]
    # Prompts of one length go together, so that little is padded.
    queue = sorted(list(range(len(problems))) * samples, key=lambda index: len(problems[index].prompt))
    parts: list[list[list[float]]] = [[] for _ in problems]  # of each prompt and completion, the scores of its problems
    with undisturbed(model, seed):
        for start in range(0, len(queue), batch_size):
            batch = queue[start : start + batch_size]
            drawn = sample(
                model,
                tokenizer,
                [problems[index].prompt for index in batch],
                max_new_tokens=task.max_completion_tokens if max_new_tokens is None else max_new_tokens,
                temperature=temperature,
            )
            scored = score_all(task, [problems[index] for index in batch], drawn.texts)
            for index, scores in zip(batch, scored.each, strict=True):
                parts[index].append(scores)
    return summarize([row for rows in parts for row in zip(*rows, strict=True)], ks, temperature)


def summarize(scores: Sequence[Sequence[float]], ks: Sequence[int], temperature: float = 1.0) -> EvalResult:
    """The result for a table of scores with one row per problem and one column per sample."""
    samples = len(scores[0])
    correct = [sum(score >= 1.0 for score in row) for row in scores]
    return EvalResult(
        avg_at_k=sum(map(sum, scores)) / (samples * len(scores)),
        pass_at_k={k: sum(pass_at_k(samples, c, k) for c in correct) / len(scores) for k in ks},
        problems=len(scores),
        samples=samples,
        always=sum(c == samples for c in correct) / len(scores),
        never=sum(c == 0 for c in correct) / len(scores),
        temperature=temperature,
        correct=tuple(correct),
    )


def named(result: EvalResult, split: Split = "eval", temperature: float | None = None) -> dict[str, float]:
    """The numbers of a result by the names that metrics carry.

    Args:
        split: `train/` goes before the names of what was measured on the problems that a run learns from.
        temperature: None for the run's own; `greedy` is all that 0 has, and any other goes before the names, as in
            `t0.6/avg@8`.
    """
    place = "" if split == "eval" else f"{split}/"
    if temperature == 0:
        return {f"{place}greedy": result.avg_at_k}
    place += "" if temperature is None else f"t{temperature:g}/"
    scores = {f"avg@{result.samples}": result.avg_at_k}
    scores |= {f"pass@{k}": value for k, value in result.pass_at_k.items()}
    scores |= {"always": result.always, "sometimes": result.sometimes, "never": result.never}
    return {place + name: value for name, value in scores.items()}
