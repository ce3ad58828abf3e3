"""A small shared-parameter policy in fp64, and optimizer steps on it that are looked at before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from entrostat.attribution.prediction import Look, MicroBatch, StepPrediction, before_step
from entrostat.stats import token_stats
from entrostat.types import TokenStats

WANT = {"logp", "entropy", "baseline"}


@dataclass
class Data:
    """Tokens of six prompts with three samples each; some masked, some without advantage."""

    contexts: Tensor
    tokens: Tensor
    mask: Tensor
    advantages: Tensor
    prompts: list[int]


def data(seed: int = 0, rows: int = 18, columns: int = 5) -> Data:
    draw = torch.Generator().manual_seed(seed)
    advantages = torch.randn(rows, 1, generator=draw, dtype=torch.float64)
    advantages[::7] = 0
    return Data(
        contexts=torch.randint(9, (rows, columns), generator=draw),
        tokens=torch.randint(7, (rows, columns), generator=draw),
        mask=torch.arange(columns) < torch.randint(1, columns + 1, (rows, 1), generator=draw),
        advantages=advantages,
        prompts=[row // 3 for row in range(rows)],
    )


class Net(torch.nn.Module):
    """context -> logits over seven tokens, every parameter shared by all contexts but the embedding."""

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = torch.nn.Embedding(9, 6, dtype=dtype)
        self.hidden = torch.nn.Linear(6, 8, dtype=dtype)
        self.head = torch.nn.Linear(8, 7, dtype=dtype)
        self.unused = torch.nn.Parameter(torch.ones(2, dtype=dtype))

    def forward(self, contexts: Tensor) -> Tensor:
        return 2 * self.head(torch.tanh(self.hidden(self.embed(contexts))))


def backward(net: Net, on: Data, parts: int = 1, bonus: float = 0.0) -> list[MicroBatch]:
    """The step's losses, policy gradient and entropy bonus, over `parts` micro-batches; gradients are added up."""
    total = on.mask.sum()
    batches = []
    for rows in torch.arange(len(on.tokens)).tensor_split(parts):
        contexts, tokens, mask, advantages = (x[rows] for x in (on.contexts, on.tokens, on.mask, on.advantages))

        def evaluate(contexts: Tensor = contexts, tokens: Tensor = tokens) -> TokenStats:
            return token_stats(net(contexts), tokens, WANT)

        stats = evaluate()
        logp, entropy = stats.need("logp"), stats.need("entropy")
        logp.retain_grad()
        entropy.retain_grad()
        ratio = (logp - logp.detach()).exp()
        loss = -((advantages * ratio + bonus * entropy) * mask).sum() / total
        loss.backward()
        labels = [on.prompts[row] for row in rows.tolist()]
        batches.append(MicroBatch(evaluate, mask, logp.grad, advantages, entropy.grad, labels))
    return batches


def step(
    net: Net,
    optimizer: torch.optim.Optimizer,
    on: Data,
    parts: int = 1,
    bonus: float = 0.0,
    clip: float | None = None,
    between: Callable[[Look], Any] = lambda look: None,
    **options: Any,
) -> StepPrediction:
    """One whole optimizer step and its prediction."""
    optimizer.zero_grad()
    look = before_step(backward(net, on, parts, bonus), optimizer)
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
    optimizer.step()
    between(look)
    return look.after_step(**options)


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])
