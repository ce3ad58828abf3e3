"""A training loop of one's own on the smallest policy there is: a table of logits, one state per prompt."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.lab import group_advantages
from entrostat.stats import policy_entropy, token_stats
from entrostat.types import TokenBatch


class Bandit:
    """Contextual bandit with noisy rewards, trained by GRPO with Adam; everything but the control is seeded by step."""

    def __init__(
        self, control: EntropyControl, states: int = 16, arms: int = 8, group: int = 16, lr: float = 0.03
    ) -> None:
        draw = torch.Generator().manual_seed(0)
        self.table = (0.5 * torch.randn(states, arms, generator=draw, dtype=torch.float64)).requires_grad_()
        self.values = torch.rand(states, arms, generator=draw, dtype=torch.float64)
        self.optimizer = torch.optim.Adam([self.table], lr=lr)
        self.control, self.group, self.done = control, group, 0
        self.entropies: list[float] = []

    def micro_batches(self, count: int = 2) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(states, actions, advantages) of each micro-batch, sampled from the present policy."""
        draw = torch.Generator().manual_seed(self.done + 1)
        actions = torch.multinomial(self.table.detach().softmax(-1), self.group, replacement=True, generator=draw)
        reward = self.values.gather(1, actions) + 0.3 * torch.randn(actions.shape, generator=draw, dtype=torch.float64)
        parts = (torch.arange(len(self.table)), actions, group_advantages(reward))
        return list(zip(*(part.chunk(count) for part in parts), strict=True))

    def batch(self, states: Tensor, actions: Tensor, advantages: Tensor) -> TokenBatch:
        logits = self.table[states].unsqueeze(1).expand(*actions.shape, -1)
        stats = token_stats(logits, actions, self.control.method.requires)
        return TokenBatch(stats, advantages, torch.ones(actions.shape))

    def step(self) -> dict[str, float]:
        parts = self.micro_batches()
        self.optimizer.zero_grad()
        for part in parts:
            batch = self.batch(*part)
            (es.loss(self.control.apply(es.ppo(batch), batch), batch) / len(parts)).backward()
        self.optimizer.step()
        self.done += 1
        self.entropies.append(float(policy_entropy(self.table.detach()).mean()))
        return self.control.step()

    def run(self, steps: int) -> list[dict[str, float]]:
        return [self.step() for _ in range(steps)]

    def checkpoint(self) -> dict[str, Any]:
        return {"table": self.table.detach().clone(), "optimizer": self.optimizer.state_dict(), "done": self.done}

    def restore(self, saved: dict[str, Any]) -> None:
        with torch.no_grad():
            self.table.copy_(saved["table"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.done = saved["done"]
