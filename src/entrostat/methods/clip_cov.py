"""Clip-Cov: a few of the tokens whose log-probability and advantage move together give no gradient.

cov_t = (A_t - mean A)(log p_t - mean log p);   of the unclipped tokens with low < cov < high, share * N lose their loss
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState
from entrostat.methods.covariance import advantage_sum, covariance, means
from entrostat.methods.objectives import token_push
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.stats.summarize import sum_dtype
from entrostat.types import Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class ClipCov(Link):
    """Take the loss from `share` of the tokens, drawn from those whose covariance lies in an interval.

    Args:
        share: share of the tokens that lose their loss, as a fraction.
        low: lower end of the interval of the covariance.
        high: upper end of it.
        scope: over which tokens the means are taken, "step" or "micro".
    """

    share: float = 2e-4
    low: float = 1.0
    high: float = 5.0
    scope: Literal["step", "micro"] = "step"

    card: ClassVar[Card] = Card(
        "clip_cov",
        effect="raises",
        writes=("weight_BT",),
        sums=("advantage", "chosen"),
        metrics={"chosen_share": "share of the tokens that lost their loss"},
        notes=("the share is a fraction; copies that read it as a percentage are off by a factor of 100",),
        source=Source(
            "2505.22617",
            "Clip-Cov, Eq. 12; verl's policy loss clip_cov",
            "share 2e-4, covariance within (1, 5)",
            (
                "the tokens are drawn by a hash of their log-probability, so that every host draws the same; the release "
                "draws them with its generator",
                "means are of the optimizer step over all its tokens (scope='step'), of the last one where the host does "
                "not have it at hand; the release takes them from the micro-batch of one rank (scope='micro')",
            ),
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low < self.high:
            raise ConfigError(f"low must be below high, got ({self.low}, {self.high})")

    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        return {"advantage": advantage_sum(surrogate, batch)}

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        a, logp = surrogate.advantages_BT, batch.stats.need("logp").detach()
        together = covariance(surrogate, batch, self.scope, state.memory)
        inside = batch.mask & (token_push(surrogate, batch) != 0) & (together > self.low) & (together < self.high)
        count = min(max(int(self.share * int(batch.mask.sum())), 1), int(inside.sum()))
        bits = logp.float().contiguous().view(torch.int32).to(torch.int64)
        drawn = ((bits * 2654435761) % (1 << 32)).masked_fill(~inside, -1).flatten().topk(count).indices
        weight = torch.ones_like(a).flatten().index_fill(0, drawn, 0).view_as(a)
        chosen = torch.full((), float(count), dtype=sum_dtype(a.device), device=a.device)
        return replace(surrogate, weight_BT=weight, sums={**surrogate.sums, "chosen": chosen})

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        return means(summary)


clip_cov = register(ClipCov)
