"""A batch of completions with the statistics of their tokens, as a training step has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from entrostat.stats import token_stats
from entrostat.tasks.sampling import sample
from entrostat.types import TokenStats


@torch.no_grad()
def sampled(
    policy: Any, task: Any, prompts: int, completions: int, want: Sequence[str], seed: int = 0
) -> tuple[TokenStats, Tensor, Tensor]:
    """Statistics of the tokens, the mask (prompts * completions, T), and the rewards (prompts, completions).

    At the task's sampling temperature.
    """
    torch.manual_seed(seed)
    problems = [problem for problem in task.problems("train", prompts, seed) for _ in range(completions)]
    texts = [problem.prompt for problem in problems]
    length, temperature = task.max_completion_tokens, task.temperature
    drawn = sample(policy.model, policy.tokenizer, texts, max_new_tokens=length, temperature=temperature)
    logits = policy.model(drawn.ids_BS, attention_mask=drawn.attention_BS).logits[:, drawn.prompt_length - 1 : -1]
    stats = token_stats(logits / temperature, drawn.ids_BS[:, drawn.prompt_length :], want=want)
    rewards = torch.tensor([task.score(problem, text) for problem, text in zip(problems, drawn.texts, strict=True)])
    return stats, drawn.mask_BT, rewards.view(prompts, completions)
