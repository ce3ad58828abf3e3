"""Where a policy stands before reinforcement learning: entropy, near-certain tokens, accuracy.

A policy is a fair test bed for entropy control only if it starts like a language model that reasons: most tokens near
certain, a few real choices, some problems solved and most not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from entrostat.tasks.base import Problem, Task, score_all
from entrostat.tasks.sampling import sample, undisturbed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_TOGETHER = 16  # problems per batch: enough to be fast, few enough that their logits fit in memory


@dataclass(frozen=True)
class StartStatistics:
    """What a policy's own samples look like.

    `entropy` is the exact full-vocabulary entropy in nats per completion token (first EOS included); `near_certain` is
    the share of those tokens that were sampled with p > 0.95; `accuracy` the mean score; `solved` the share of problems
    with a fully right sample; `right_answers` the mean number of distinct right completions over those.
    """

    entropy: float
    near_certain: float
    accuracy: float
    solved: float
    right_answers: float
    completion_tokens: float
    problems: int
    samples: int
    temperature: float


@torch.no_grad()
def measure_start(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: Sequence[Problem],
    *,
    samples: int = 8,
    temperature: float = 1.0,
    seed: int = 0,
) -> StartStatistics:
    """Measure `samples` completions per problem. The model and torch's random state are left as they were."""
    entropy = near_certain = tokens = score = 0.0
    right: list[int] = []
    with undisturbed(model, seed):
        for first in range(0, len(problems), _TOGETHER):
            batch = [problem for problem in problems[first : first + _TOGETHER] for _ in range(samples)]
            prompts = [problem.prompt for problem in batch]
            drawn = sample(
                model, tokenizer, prompts, max_new_tokens=task.max_completion_tokens, temperature=temperature
            )
            logits_BSV = model(input_ids=drawn.ids_BS, attention_mask=drawn.attention_BS.long()).logits.float()
            logp_BTV = (logits_BSV[:, drawn.prompt_length - 1 : -1] / temperature).log_softmax(-1)
            sampled_BT = logp_BTV.gather(-1, drawn.ids_BS[:, drawn.prompt_length :, None]).squeeze(-1)
            entropy += -(logp_BTV.exp() * logp_BTV).sum(-1)[drawn.mask_BT].sum().item()
            near_certain += (sampled_BT[drawn.mask_BT].exp() > 0.95).sum().item()
            tokens += drawn.mask_BT.sum().item()
            scores = score_all(task, batch, drawn.texts).values
            score += sum(scores)
            for row in range(0, len(batch), samples):
                own = zip(drawn.texts[row : row + samples], scores[row : row + samples], strict=True)
                right.append(len({text for text, reward in own if reward >= 1.0}))
    solved = [count for count in right if count]
    return StartStatistics(
        entropy=entropy / tokens,
        near_certain=near_certain / tokens,
        accuracy=score / (len(problems) * samples),
        solved=len(solved) / len(problems),
        right_answers=sum(solved) / max(len(solved), 1),
        completion_tokens=tokens / (len(problems) * samples),
        problems=len(problems),
        samples=samples,
        temperature=temperature,
    )
