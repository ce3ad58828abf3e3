"""Statistics from logits whose vocabulary is split over ranks: a common maximum first, then sums over ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from entrostat.errors import MissingStatistic
from entrostat.types import TokenStats

HERE = frozenset({"logp", "entropy", "baseline", "collision"})
_FLOOR = -2000.0  # exp() of it is zero, and zero times it is zero, where zero times -inf would be NaN


@torch.no_grad()
def vocab_parallel_stats(
    logits_BTV: Tensor,
    targets_BT: Tensor,
    want: frozenset[str],
    temperature_BT: Tensor,
    group: dist.ProcessGroup | None = None,
    chunk_tokens: int = 256,
) -> TokenStats:
    """Equals `token_stats` on the concatenation of all ranks' logits, without gradient.

    Args:
        logits_BTV: this rank's equal share of the vocabulary, (..., V / ranks), in the ranks' order; left as it is.
        targets_BT: token ids of the whole vocabulary, the leading shape.
        want: the statistics to return.
        temperature_BT: what the logits of each token are divided by, the leading shape.
        group: the ranks that share the vocabulary.
        chunk_tokens: tokens worked on at once.

    Raises:
        MissingStatistic: a statistic that has no formula here.
    """
    if unknown := want - HERE:
        raise MissingStatistic(f"{sorted(unknown)} cannot be computed with the vocabulary split over ranks: use FSDP")
    shape, width = targets_BT.shape, logits_BTV.shape[-1]
    logits_NV, targets_N, temperature_N = (
        logits_BTV.reshape(-1, width),
        targets_BT.reshape(-1),
        temperature_BT.reshape(-1),
    )
    start = dist.get_rank(group) * width
    parts = []
    for first in range(0, len(logits_NV), chunk_tokens):
        rows = slice(first, first + chunk_tokens)
        tile = logits_NV[rows].float() / temperature_N[rows, None]
        parts.append(_tile(tile, targets_N[rows] - start, group))
    columns = torch.cat(parts, 1)
    values: dict[str, Any] = {
        name: columns[i].view(shape) for i, name in enumerate(("logp", "entropy", "baseline", "collision"))
    }
    return TokenStats(**{name: values[name] for name in want})


def _tile(tile_NV: Tensor, local_N: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """logp, entropy, baseline and collision of some tokens, (4, N); the formulas are those of `stats.online`."""
    top = tile_NV.amax(1)
    dist.all_reduce(top, op=dist.ReduceOp.MAX, group=group)
    x = (tile_NV - top[:, None]).clamp_min(_FLOOR)
    e = x.exp()
    here = (local_N >= 0) & (local_N < x.shape[1])
    target = (tile_NV - top[:, None]).gather(1, local_N.clamp(0, x.shape[1] - 1)[:, None]).squeeze(1)
    sums = torch.stack([e.sum(1), (e * x).sum(1), (e * e).sum(1), (e * e * x).sum(1), torch.where(here, target, 0)])
    dist.all_reduce(sums, group=group)
    z, ex, e2, e2x, target = sums.unbind()
    log_z = z.log()
    entropy = (log_z - ex / z).clamp_min(0)
    collision = e2 / z.square()
    baseline = entropy * collision + (e2x - log_z * e2) / z.square()
    return torch.stack([target - log_z, entropy, baseline, collision])
