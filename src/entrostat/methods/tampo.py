"""TAMPO: the sampling temperature follows the advantage; no gradient is touched.

merit_k <- (1 - rate) merit_k + rate mean(sparsemax_k(mean log p at T_k) A);  T = the T_k of largest merit
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.stats.summarize import sum_dtype
from entrostat.types import LogpAt, Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class Tampo(Link):
    """Learn which sampling temperature makes good completions likely, and sample at it.

    Each completion's advantage goes to the candidates under which it is likely (sparsemax over its mean log-probabilities);
    a moving average of that is each candidate's merit, and the best one is sampled at.

    Args:
        candidates: temperatures relative to the host's.
        rate: weight of the newest step in the moving average.
    """

    candidates: tuple[float, ...] = (0.8, 1.0, 1.2)
    rate: float = 0.05

    card: ClassVar[Card] = Card(
        "tampo",
        effect="either",
        writes=("temperature",),
        source=Source(
            "2602.11779",
            "Section 4, from a detailed note",
            "rate 0.05; the set of candidates is not known, ours is 0.8, 1, 1.2",
            ("the best candidate is taken; the paper draws from their normalized merits with a nucleus of 0.7",),
        ),
    )

    @property
    def record(self) -> Card:
        want = tuple(LogpAt(t) for t in self.candidates)
        return replace(self.card, want=want, sums=("rows", *(f"merit/{i}" for i in range(len(want)))))

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "candidates", tuple(map(float, self.candidates)))
        if len(self.candidates) < 2 or min(self.candidates) <= 0 or not 0 < self.rate <= 1:
            raise ConfigError(
                f"give at least two temperatures above 0 and a rate in (0, 1], got {self.candidates}, {self.rate}"
            )

    def temperature(self, state: MethodState) -> float:
        if "merit/0" not in state.memory:
            return min(self.candidates, key=lambda t: abs(math.log(t)))
        return max(
            zip(self.candidates, range(len(self.candidates)), strict=True), key=lambda c: state.memory[f"merit/{c[1]}"]
        )[0]

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        count = batch.mask.sum(1).clamp_min(1)
        means = [batch.need(LogpAt(t)).masked_fill(~batch.mask, 0).sum(1) / count for t in self.candidates]
        share_BK = sparsemax(torch.stack(means, 1))
        advantage_B = surrogate.advantages_BT.masked_fill(~batch.mask, 0).sum(1) / count
        dtype = sum_dtype(share_BK.device)
        merits = (share_BK * advantage_B.unsqueeze(1)).sum(0, dtype=dtype)
        return {
            "rows": batch.mask.any(1).sum(dtype=dtype),
            **{f"merit/{i}": merits[i] for i in range(len(self.candidates))},
        }

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        rows = max(summary.get("rows"), 1.0)
        names = [f"merit/{i}" for i in range(len(self.candidates))]
        return {n: memory.get(n, 0.0) + self.rate * (summary.get(n) / rows - memory.get(n, 0.0)) for n in names}


def sparsemax(scores_BK: Tensor) -> Tensor:
    """The point of the simplex nearest to each row of scores, (B, K) (Martins and Astudillo, 2016)."""
    ordered = scores_BK.sort(1, descending=True).values
    excess = ordered.cumsum(1) - 1
    size = torch.arange(1, scores_BK.shape[1] + 1, device=scores_BK.device, dtype=scores_BK.dtype)
    support = (ordered * size > excess).sum(1, keepdim=True).clamp_min(1)  # NaN has none
    threshold = excess.gather(1, support - 1) / support
    return (scores_BK - threshold).clamp_min(0)


tampo = register(Tampo)
