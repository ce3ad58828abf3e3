"""Sampling temperatures that follow the entropy or the advantage: E3 and TAMPO. No gradient is touched.

E3     T <- T (1 + T log(H_target / H) / (log V + log log V))
TAMPO  merit_k <- (1 - rate) merit_k + rate mean(sparsemax_k(mean log p at T_k) A);  T = the T_k of largest merit
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from entrostat.errors import ConfigError
from entrostat.methods.base import Card, Link, MethodState, Source
from entrostat.methods.registry import register
from entrostat.stats.summarise import sum_dtype
from entrostat.types import LogpAt, Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class E3Temperature(Link):
    """T <- T (1 + T log(H_target / H) / (log V + log log V)): the change of T that is to bring the entropy to its target.

    Args:
        vocabulary: V.
        target: [nats per token]; None: the mean over the first `first` steps.
        first: steps over which the target is measured.
        limits: lowest and highest temperature, relative to the host's; the release has none.
    """

    vocabulary: int
    target: float | None = None
    first: int = 10
    limits: tuple[float, float] = (0.25, 4.0)

    card: ClassVar[Card] = Card(
        "e3_temperature",
        effect="holds",
        writes=("temperature",),
        source=Source(
            "none",
            "LiaoMengqi/E3-RL4LLMs, its temperature scheduler",
            "the target is the mean of the first steps",
            ("the temperature has limits", "its annealing over the last 40 % of the steps is not here"),
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary < 3 or self.first < 1:
            raise ConfigError(
                f"vocabulary must be at least 3 and first at least 1, got {self.vocabulary!r} and {self.first!r}"
            )
        if not 0 < self.limits[0] <= 1 <= self.limits[1]:
            raise ConfigError(f"limits must be temperatures around 1, got {self.limits!r}")

    def init(self) -> MethodState:
        return MethodState({}, {"temperature": 1.0, "step": 0.0, "target": self.target or 0.0})

    def temperature(self, state: MethodState) -> float:
        return state.memory["temperature"]

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        entropy, step, t = summary.mean("entropy"), memory["step"] + 1, memory["temperature"]
        target = memory["target"]
        if self.target is None and step <= self.first:
            target += (entropy - target) / step
        if (self.target is not None or step > self.first) and entropy > 0 and target > 0:
            scale = math.log(self.vocabulary) + math.log(math.log(self.vocabulary))
            t = min(max(t * (1 + t * math.log(target / entropy) / scale), self.limits[0]), self.limits[1])
        return {"temperature": t, "step": step, "target": target}


@dataclass(frozen=True)
class Tampo(Link):
    """Learn which sampling temperature makes good completions likely, and sample at it.

    Each completion's advantage goes to the candidates under which it is likely (sparsemax over its mean log-probabilities);
    a moving average of that is each candidate's merit, and the best one is sampled at.

    Args:
        candidates: temperatures relative to the host's.
        rate: of the moving average.
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
            ("the best candidate is taken; the paper draws from their normalised merits with a nucleus of 0.7",),
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


e3_temperature = register(E3Temperature)
tampo = register(Tampo)
