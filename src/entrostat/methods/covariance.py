"""How far each token's log-probability and advantage move together, by which Clip-Cov and KL-Cov (2505.22617) choose tokens.

A link takes the means of the last step from its memory, so it adds up `advantage_sum` as "advantage" and remembers `means`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from entrostat.methods.scopes import mean_over
from entrostat.stats.summarize import sum_dtype
from entrostat.types import Summary, Surrogate, TokenBatch


@torch.no_grad()
def covariance(
    surrogate: Surrogate, batch: TokenBatch, scope: Literal["micro", "step"], memory: Mapping[str, float]
) -> Tensor:
    """(A - mean A)(log p - mean log p), (B, T), without gradient; the means are of `scope`, see `scopes.mean_over`."""
    a, logp = surrogate.advantages_BT, batch.stats.need("logp").detach()
    mean_a = mean_over(a, batch, scope, memory.get("advantage"))
    return (a - mean_a) * (logp - mean_over(logp, batch, scope, memory.get("logp")))


@torch.no_grad()
def advantage_sum(surrogate: Surrogate, batch: TokenBatch) -> Tensor:
    """The sum of the advantages over the batch's tokens."""
    a = surrogate.advantages_BT.masked_fill(~batch.mask, 0)
    return a.sum(dtype=sum_dtype(a.device))


def means(summary: Summary) -> dict[str, float]:
    """Mean advantage and mean log-probability [nats] of a step, for the next one."""
    return {"advantage": summary.mean("advantage"), "logp": -summary.mean("surprisal")}
