"""Statistics from logits whose vocabulary is split over ranks (tensor parallel): each rank's own sums, then one all-gather."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from entrostat.errors import ConfigError, DataError
from entrostat.stats.arguments import (
    DEFAULT_WANT,
    check_in_vocabulary,
    check_size,
    check_want,
    token_ids,
    working_dtype,
)
from entrostat.stats.online import OnlineSoftmax, combine, stats_of
from entrostat.types import TokenStats


@torch.no_grad()
def vocab_parallel_stats(
    logits_BTV: Tensor,
    targets_BT: Tensor,
    want: Iterable[str] = DEFAULT_WANT,
    temperature_BT: Tensor | float = 1.0,
    group: dist.ProcessGroup | None = None,
    chunk_tokens: int = 256,
) -> TokenStats:
    """Equals `token_stats` on the concatenation of all ranks' logits, without gradient.

    Every rank passes the same targets and gets the same statistics, bit for bit: six numbers a token are gathered and combined
    in the ranks' order.

    Args:
        logits_BTV: this rank's equal share of the vocabulary, (..., V / ranks), in the ranks' order; left as it is.
        targets_BT: token ids of the whole vocabulary, the leading shape.
        want: of `types.STATISTICS`.
        temperature_BT: what the logits are divided by; a number, or one of each token in the leading shape.
        group: the ranks that share the vocabulary; None for the default group.
        chunk_tokens: tokens worked on at once.

    Returns:
        TokenStats in nats, fp32 (fp64 for fp64 logits).

    Raises:
        ConfigError: an unknown statistic, an empty chunk.
        DataError: shapes that do not fit, token ids outside the vocabulary.
    """
    wanted, more = check_want(want)
    if more:
        raise ConfigError(f"{more[0]} needs whole rows of the vocabulary, and this one is split over ranks")
    check_size("chunk_tokens", chunk_tokens)
    shape, width = logits_BTV.shape[:-1], logits_BTV.shape[-1]
    targets_N = token_ids(targets_BT, shape).reshape(-1)
    check_in_vocabulary(targets_N, width * dist.get_world_size(group))
    temperature = torch.as_tensor(temperature_BT, device=logits_BTV.device)
    if temperature.dim() and temperature.shape != shape:
        raise DataError(f"temperature must be a number or have shape {tuple(shape)}, got {tuple(temperature.shape)}")
    logits_NV, temperature_N1 = logits_BTV.reshape(-1, width), temperature.expand(shape).reshape(-1, 1)
    dtype, start = working_dtype(logits_BTV.dtype), dist.get_rank(group) * width
    states = []
    for first in range(0, max(len(logits_NV), 1), chunk_tokens):
        rows = slice(first, first + chunk_tokens)
        tile = logits_NV[rows].to(dtype) / temperature_N1[rows]
        softmax = OnlineSoftmax(len(tile), wanted, dtype, tile.device)
        softmax.fold(tile, targets_N[rows], start)
        states.append(softmax.state)
    state = torch.cat(states, 1)
    parts = [torch.empty_like(state) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, state, group=group)
    stats = stats_of(combine(torch.stack(parts)), wanted, dtype)
    return stats.map(lambda value: value.view(shape))
