"""BAPO: the clip range opens until positive samples contribute their share of what is still trained on.

c_low and c_high rise by a step until  sum of r A over A > 0 with r <= c_high  reaches  `target` times that over A < 0
with r >= c_low, in size; first c_low to its largest value, then c_high.
"""

from __future__ import annotations

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
from entrostat.types import Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class BapoBalanced(Link):
    """Clip to [c_low, c_high], found so that positive and negative contributions balance.

    Args:
        target: lowest ratio of positive to negative contributions.
        low: smallest and largest c_low.
        high: smallest and largest c_high.
        step: by how much c_low and c_high are raised at a time.
    """

    target: float = 1.0
    low: tuple[float, float] = (0.6, 0.8)
    high: tuple[float, float] = (1.2, 2.0)
    step: float = 0.05

    card: ClassVar[Card] = Card(
        "bapo_balanced",
        effect="raises",
        writes=("eps_low", "eps_high"),
        needs=("stale",),
        source=Source(
            "2510.18927",
            "Algorithm 1; WooooDyy/BAPO",
            "target 1, c_low from 0.6 to 0.8, c_high from 1.2 to 2, steps of 0.05, its yaml's",
            (
                "a token counts only while it still carries gradient (r >= c_low for A < 0); the release counts max(r, c_low) A, "
                "so that raising c_low moves its ratio away from the target and always ends at the largest",
                "c_low rises before c_high, as in the release; the paper's algorithm has it the other way round",
                "found on the last optimizer step over all its tokens, or on this very one where the host has it at hand",
            ),
        ),
    )

    @property
    def record(self) -> Card:
        names = [f"negative/{i}" for i in range(len(self._lows))] + [f"positive/{i}" for i in range(len(self._highs))]
        return replace(self.card, sums=tuple(names))

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "low", tuple(map(float, self.low)))
        object.__setattr__(self, "high", tuple(map(float, self.high)))
        if not (
            0 < self.low[0] <= self.low[1] <= 1 <= self.high[0] <= self.high[1] and self.step > 0 and self.target > 0
        ):
            raise ConfigError(
                f"c_low must lie within (0, 1] and c_high at 1 or above, each smallest first, with step and target above 0; got "
                f"{self.low}, {self.high}, {self.step}, {self.target}"
            )

    @property
    def _lows(self) -> list[float]:
        return _grid(self.low, self.step)

    @property
    def _highs(self) -> list[float]:
        return _grid(self.high, self.step)

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        ratio = batch.ratio
        gain = (ratio * surrogate.advantages_BT).masked_fill(~batch.mask, 0).to(sum_dtype(ratio.device))
        down, up = -gain.clamp_max(0), gain.clamp_min(0)
        sums = {f"negative/{i}": down.masked_fill(ratio < c, 0).sum() for i, c in enumerate(self._lows)}
        return sums | {f"positive/{i}": up.masked_fill(ratio > c, 0).sum() for i, c in enumerate(self._highs)}

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        c_low, c_high = state.memory.get("c_low", self.low[0]), state.memory.get("c_high", self.high[0])
        return replace(surrogate, eps_low=1 - c_low, eps_high=c_high - 1)

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        # c_low to its largest first, then c_high: the pairs in the order in which they are tried.
        tried = [(i, 0) for i in range(len(self._lows))] + [
            (len(self._lows) - 1, j) for j in range(1, len(self._highs))
        ]
        for i, j in tried:
            if summary.get(f"positive/{j}") >= self.target * summary.get(f"negative/{i}"):
                break
        return {"c_low": self._lows[i], "c_high": self._highs[j]}


def _grid(ends: tuple[float, float], step: float) -> list[float]:
    count = int((ends[1] - ends[0]) / step + 1e-9)
    return [ends[0] + i * step for i in range(count + 1)]


bapo_balanced = register(BapoBalanced)
