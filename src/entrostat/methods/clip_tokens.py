"""Clip_B and Clip_V: tokens whose update would move the entropy too far are left out.

    Clip_B: S - mean(S) within mu standard deviations of S, over the batch
    Clip_V: B - S, which is centred over the vocabulary of each position, within mu standard deviations

As released, only tokens of negative advantage on the side that lowers the entropy are dropped.
Source: 2602.03392, Section 4, and Trinity-RFT's `clipb_advantage.py`, `clipv_advantage.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from entrostat.control.base import Action
from entrostat.control.knob import Knob
from entrostat.errors import ConfigError
from entrostat.methods.authority import AuthorityLink, authority_sums
from entrostat.methods.base import MethodState
from entrostat.stats.summarise import sum_dtype
from entrostat.types import Summary, Surrogate, TokenBatch

_NO_SPREAD = 1e-12
_ROUNDING = 1e-13  # relative, of sums in fp64


@dataclass(frozen=True)
class ClipTokens(AuthorityLink):
    """Drop tokens whose centred discriminator is an outlier on the side that lowers the entropy.

    Args:
        mu: how many standard deviations are kept.
        centre: "batch" subtracts the batch's mean of S (Clip_B), "vocabulary" each position's baseline B (Clip_V).
        two_sided: the paper's general form: outliers of either sign, of any advantage. The released form drops only
            tokens of negative advantage with a low discriminator.
        largest_share: drop at most max(1, largest_share * N) of the N tokens of a micro-batch, the furthest out first.
        scope: where mean and standard deviation come from: "step", the last optimizer step over all its tokens
            (everything is kept until there is one), or "micro", this micro-batch.
    """

    mu: Knob
    centre: Literal["batch", "vocabulary"]
    two_sided: bool = False
    largest_share: float = 1.0
    scope: Literal["step", "micro"] = "step"

    name: ClassVar[str] = "clip_tokens"
    actions: ClassVar[Mapping[str, Action]] = {"mu": "lower"}
    writes: ClassVar[frozenset[str]] = frozenset({"keep_BT"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.centre not in ("batch", "vocabulary"):
            raise ConfigError(f"centre must be 'batch' or 'vocabulary', got {self.centre!r}")
        if not 0 < self.largest_share <= 1:
            raise ConfigError(f"largest_share must be a share of the tokens in (0, 1], got {self.largest_share!r}")
        if self.scope not in ("step", "micro"):
            raise ConfigError(f"scope must be 'step' or 'micro', got {self.scope!r}")

    def _outlyingness(self, batch: TokenBatch, state: MethodState) -> tuple[Tensor, Tensor | float, Tensor]:
        """How far a token lies on the entropy-lowering side; the standard deviation; and the raw statistic."""
        stats = batch.stats.detach()
        raw = (stats.discriminator if self.centre == "batch" else stats.centred).masked_fill(~batch.mask, 0)
        mean: Tensor | float
        deviation: Tensor | float
        if self.scope == "micro":
            values = raw[batch.mask].double()
            mean = values.mean() if values.numel() else 0.0
            deviation = values.std(correction=0) if values.numel() else 0.0
        else:
            mean, deviation = state.memory.get("mean", 0.0), state.memory.get("deviation", math.inf)
        return (mean - raw if self.centre == "batch" else -raw), deviation, raw

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        output = state.knobs["mu"].output
        distance, deviation, raw = self._outlyingness(batch, state)
        if self.two_sided:
            distance = distance.abs()
        candidates = batch.mask if self.two_sided else batch.mask & (surrogate.advantages_BT < 0)
        narrow = torch.as_tensor(deviation) < _NO_SPREAD

        def keep(mu: float) -> Tensor:
            drop = candidates & (distance > mu * deviation) & ~narrow.to(candidates.device)
            most = max(1, int(self.largest_share * int(batch.mask.sum())))
            if self.largest_share < 1 and int(drop.sum()) > most:
                furthest = distance.masked_fill(~drop, -math.inf).flatten().topk(most).indices
                drop = torch.zeros_like(drop.flatten()).index_fill(0, furthest, True).view_as(drop)
            return ~drop

        kept = keep(output)
        dtype = sum_dtype(raw.device)
        wide = raw.to(dtype)
        sums = authority_sums(surrogate, batch, keep, self.mu, output)
        sums |= {
            "dropped": (batch.mask & ~kept).sum().to(dtype),
            "statistic": wide.sum(),
            "statistic_sq": wide.square().sum(),
        }
        return dataclasses.replace(surrogate, keep_BT=kept, sums={**surrogate.sums, **sums})

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        mean, square = summary.mean("statistic"), summary.mean("statistic_sq")
        variance = square - mean * mean
        # What rounding leaves of the variance of a constant is no spread.
        return {"mean": mean, "deviation": math.sqrt(variance) if variance > _ROUNDING * square else 0.0}

    def report(self, summary: Summary) -> dict[str, float]:
        return super().report(summary) | {"dropped_share": summary.mean("dropped")}
