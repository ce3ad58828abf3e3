"""DCPO: correct completions are pulled toward what a hotter or a cooler policy would have made of them.

T = hot where H <= H0, else cool;   a = min(|H0 - H|, 0.1) / share correct,  alpha = a / (1 + a)
A <- (1 - alpha) A + alpha 1[R > threshold] exp(log p_old,T - log p_old)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState, rewards
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.stats.summarize import sum_dtype
from entrostat.types import LogpAt, Old, Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class Dcpo(Link):
    """Sampling-free control of the entropy by advantages at another temperature.

    Args:
        target: H0 in the formula [nats per token].
        hot: temperature while the entropy is at or below the target, relative to the sampling temperature.
        cool: temperature while it is above.
        most: largest distance from the target that counts [nats].
        threshold: rewards above it count as correct.
    """

    target: float = 0.5
    hot: float = 1.2
    cool: float = 0.8
    most: float = 0.1
    threshold: float = 0.05

    card: ClassVar[Card] = Card(
        "dcpo",
        effect="holds",
        writes=("advantages_BT",),
        needs=("rewards",),
        bounds={"target": "[0, inf)", "most": "[0, inf)"},
        goals=("target",),
        sums=("correct", "rows"),
        metrics={"correct_share": "share of the scored completions that count as correct"},
        source=Source(
            "none",
            "DCPO, 597358816/AEPO at commit 15dc716; the paper's number is not known",
            "target 0.5, temperatures 1.2 and 0.8",
            (
                "entropy and share of correct completions are of the last optimizer step",
                "what a method adds is per token: p_T / p of the token; the release's batch is whole sequences",
            ),
        ),
    )

    @property
    def record(self) -> Card:
        old = Old(LogpAt(self.hot)), Old(LogpAt(self.cool)), Old("logp")
        return replace(self.card, want=old)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.cool < 1 < self.hot <= 100:
            raise ConfigError(
                f"cool and hot must be temperatures on either side of 1, at most 100, got {self.cool!r} and {self.hot!r}"
            )

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        reward_B, present_B = rewards(batch, "dcpo"), batch.mask.any(1)
        scored = present_B & ~reward_B.isnan()
        dtype = sum_dtype(reward_B.device)
        return {"correct": (scored & (reward_B > self.threshold)).sum(dtype=dtype), "rows": scored.sum(dtype=dtype)}

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        alpha = state.memory.get("alpha", 0.0)
        if not alpha:
            return surrogate
        other = Old(LogpAt(self.hot if state.memory["below"] else self.cool))
        ratio = (batch.need(other) - batch.need(Old("logp"))).masked_fill(~batch.mask, 0).exp()
        correct = (rewards(batch, "dcpo") > self.threshold).unsqueeze(1)
        a = surrogate.advantages_BT
        return replace(surrogate, advantages_BT=((1 - alpha) * a + alpha * correct * ratio).to(a.dtype))

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        entropy, correct = summary.mean("entropy"), summary.get("correct") / max(summary.get("rows"), 1.0)
        a = min(abs(self.target - entropy), self.most) / correct if correct else 0.0
        return {"alpha": a / (1 + a), "below": float(entropy <= self.target)}

    def report(self, summary: Summary) -> dict[str, float]:
        return {"correct_share": summary.get("correct") / max(summary.get("rows"), 1.0)}


dcpo = register(Dcpo)
