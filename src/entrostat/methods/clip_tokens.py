"""Clip_B and Clip_V: tokens whose update would move the entropy too far are left out.

    Clip_B: S - mean(S) within mu standard deviations of S, over the batch
    Clip_V: B - S, which is centered over the vocabulary of each position, within mu standard deviations

As released, only tokens of negative advantage on the side that lowers the entropy are dropped.
Source: 2602.03392, Section 4, and Trinity-RFT's `clipb_advantage.py`, `clipv_advantage.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from entrostat.control.knob import Knob
from entrostat.methods.authority import REQUIRES, AuthorityLink
from entrostat.methods.base import MethodState, counting
from entrostat.methods.chain import Chain
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset
from entrostat.stats.summarize import sum_dtype
from entrostat.types import Summary, Surrogate, TokenBatch

BATCH_SCOPE = (
    "mean and deviation come from the last optimizer step over all its tokens (scope='step'); the release takes them "
    "from the batch at hand, which scope='micro' does for one micro-batch"
)
_NO_SPREAD = 1e-12
_ROUNDING = 1e-13  # relative, of sums in fp64


@dataclass(frozen=True)
class ClipTokens(AuthorityLink):
    """Drop tokens whose centered discriminator is an outlier on the side that lowers the entropy.

    Args:
        mu: how many standard deviations are kept.
        center: "batch" subtracts the batch's mean of S (Clip_B), "vocabulary" each position's baseline B (Clip_V).
        two_sided: the paper's general form: outliers of either sign, of any advantage. The released form drops only
            tokens of negative advantage with a low discriminator.
        largest_share: drop at most max(1, largest_share * N) of the N tokens of a micro-batch, the furthest out first.
        scope: where mean and standard deviation come from: "step", the last optimizer step over all its tokens
            (everything is kept until there is one), or "micro", this micro-batch.
    """

    mu: Knob
    center: Literal["batch", "vocabulary"]
    two_sided: bool = False
    largest_share: float = 1.0
    scope: Literal["step", "micro"] = "step"

    card: ClassVar[Card] = Card(
        "clip_tokens",
        want=REQUIRES,
        writes=("keep_BT",),
        knobs={"mu": "lower"},
        # A mu below zero would drop the tokens in the middle too.
        bounds={"mu": "[0, inf]", "largest_share": "(0, 1]"},
    )

    @property
    def record(self) -> Card:
        return dataclasses.replace(self.card, sums=(*self.authority_sums, "dropped", "statistic", "statistic_sq"))

    def _raw(self, batch: TokenBatch) -> Tensor:
        """S or D, 0 at padding."""
        stats = batch.stats.detach()
        return (stats.discriminator if self.center == "batch" else stats.centered).masked_fill(~batch.mask, 0)

    def _spread(self, raw: Tensor, batch: TokenBatch, state: MethodState) -> tuple[Tensor | float, Tensor | float]:
        """Mean and standard deviation of the statistic over the scope."""
        if self.scope == "micro":
            values = raw[batch.mask].double()
            return (values.mean(), values.std(correction=0)) if values.numel() else (0.0, 0.0)
        return state.memory.get("mean", 0.0), state.memory.get("deviation", math.inf)

    def at(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Callable[[str, float], Surrogate]:
        raw = self._raw(batch)
        mean, deviation = self._spread(raw, batch, state)
        distance = mean - raw if self.center == "batch" else -raw
        if self.two_sided:
            distance = distance.abs()
        candidates = batch.mask if self.two_sided else batch.mask & (surrogate.advantages_BT < 0)
        narrow = torch.as_tensor(deviation) < _NO_SPREAD
        most = max(1, int(self.largest_share * int(batch.mask.sum())))

        def changed(_: str, mu: float) -> Surrogate:
            drop = candidates & (distance > mu * deviation) & ~narrow.to(candidates.device)
            if self.largest_share < 1 and int(drop.sum()) > most:
                furthest = distance.masked_fill(~drop, -math.inf).flatten().topk(most).indices
                drop = torch.zeros_like(drop.flatten()).index_fill(0, furthest, True).view_as(drop)
            return dataclasses.replace(surrogate, keep_BT=~drop)

        return changed

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        wide = self._raw(batch).to(sum_dtype(batch.mask.device))
        sums = {"statistic": wide.sum(), "statistic_sq": wide.square().sum()}
        return {**super().measure(surrogate, batch, state), **sums}

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        changed = self.at(surrogate, batch, state)("mu", state.knobs["mu"].output)
        assert changed.keep_BT is not None
        return counting(changed, "dropped", batch.mask & ~changed.keep_BT)

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        mean, square = summary.mean("statistic"), summary.mean("statistic_sq")
        variance = square - mean * mean
        # What rounding leaves of the variance of a constant is no spread.
        return {"mean": mean, "deviation": math.sqrt(variance) if variance > _ROUNDING * square else 0.0}

    def report(self, summary: Summary) -> dict[str, float]:
        return {"dropped_share": summary.mean("dropped")}


@preset(
    Source(
        "2602.03392",
        "Clip_B, Section 4; Trinity-RFT clipb_advantage.py",
        "mu 2.5; the paper sweeps 2.0 to 3.0",
        (
            BATCH_SCOPE,
            "the entropy and the log-probability both come from the policy being trained; the release "
            "takes the log-probability from the rollout engine",
        ),
    ),
    effect="raises",
)
def clip_b(mu: Knob = 2.5, two_sided: bool = False, scope: Literal["step", "micro"] = "step") -> Chain:
    """Drop tokens of negative advantage whose discriminator S lies more than mu deviations below the batch's mean."""
    return one("clip_b", ClipTokens(mu, "batch", two_sided, scope=scope))


@preset(
    Source(
        "2602.03392",
        "Clip_V, Section 4; Trinity-RFT clipv_advantage.py",
        "mu 8.5, at most 1e-4 of the tokens; the paper sweeps 7.5 to 8.5",
        (
            BATCH_SCOPE,
            "the cap on dropped tokens counts within each micro-batch; the release counts over the batch",
            "statistics come from the forward pass of the update; the release recomputes the old policy's, and does not run as "
            "shipped: nothing in trinity-rft 0.6.0 makes the statistic that it reads",
            "tokens of zero advantage stay; the release also drops outliers among them, outside its cap, which changes "
            "nothing but the denominator of the mean",
        ),
    ),
    effect="raises",
)
def clip_v(
    mu: Knob = 8.5,
    two_sided: bool = False,
    largest_share: float = 1e-4,
    scope: Literal["step", "micro"] = "step",
) -> Chain:
    """Drop tokens of negative advantage whose centered discriminator S - B lies more than mu deviations below zero."""
    return one("clip_v", ClipTokens(mu, "vocabulary", two_sided, largest_share, scope))
