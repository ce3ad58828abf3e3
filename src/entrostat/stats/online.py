"""An online softmax: every statistic of a distribution from one pass over tiles of its logits.

Per token it carries the running maximum m and, with x = z - m and e = exp(x), the sums of e, e*x, e^2 and e^2*x that the
wanted statistics need. With s = sum e:

    log Z      = m + log s
    entropy    = log s - (sum e*x) / s
    collision  = (sum e^2) / s^2
    baseline   = sum p^2 (H + log p) = H * collision + ((sum e^2*x) - log s * (sum e^2)) / s^2

Shifting x by the maximum keeps the sums near 1, which is what makes the small entropies of trained policies right in
fp32. Of a near-certain token all but 1e-6 of the sum of e is the 1 of the likeliest: that sum is taken in fp64, or the rest,
which is what the entropy and the gradient are made of, would be lost in its last digit. A logit of -inf (masked
vocabulary, top-p) has e = 0 and adds nothing.

The sums of two parts of a vocabulary combine by shifting both to the larger maximum (`combine`), whether the parts are
tiles, or shards on several ranks (`vocab_parallel`). Parts are combined in fp64: at an entropy of 1e-4 nats the tail of
one tile is less than the last digit of an fp32 sum near 1, and would be lost tile by tile.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entrostat.stats.summarize import sum_dtype
from entrostat.types import TokenStats

# exp() of it is exactly zero in fp32 and in fp64, and zero times it is zero, where zero times -inf would be NaN.
FLOOR = -2000.0

# Logits that one thread works on at a time: with two copies 1.5 MB, so that all passes but the first find them in the
# second-level cache. On other devices a tile is one block.
_BLOCK = 1 << 17

# Parts to collect before they are combined, which spares small operations.
_PARTS = 16

SUMS = ("shift", "target", "e", "ex", "e2", "e2x")
"""The rows of a state: the maximum m, the target's logit, and the four sums."""


class OnlineSoftmax:
    """Sums over the vocabulary for N tokens, folded tile by tile.

    Args:
        tokens: N.
        want: statistics wanted, of `types.STATISTICS`.
        dtype: of the tiles, fp32 or fp64.
    """

    def __init__(self, tokens: int, want: frozenset[str], dtype: torch.dtype, device: torch.device) -> None:
        self.first = bool(want & {"entropy", "baseline"})
        self.second = bool(want & {"baseline", "collision"})
        self.cross = "baseline" in want
        empty = torch.zeros(len(SUMS), tokens, dtype=sum_dtype(device), device=device)
        empty[:2] = -torch.inf
        self._parts = [empty]
        self._scratch = torch.empty(2, 0, 0, dtype=dtype, device=device)

    @property
    def state(self) -> Tensor:
        """The sums so far, (6, N), fp64 where the device has it. Rows as in `SUMS`; a sum that nothing needs stays 0."""
        if len(self._parts) > 1:
            self._parts = [combine(torch.stack(self._parts))]
        return self._parts[0]

    def fold(self, tile_NV: Tensor, targets_N: Tensor, start: int, finite: bool = False) -> None:
        """Add the logits of vocabulary entries `start` to `start + V`. The tile has the sums' dtype.

        finite: a promise that no logit is -inf, which spares a pass.
        """
        tokens, width = tile_NV.shape
        part = torch.zeros(len(SUMS), tokens, 1, dtype=self._parts[0].dtype, device=tile_NV.device)
        here, column = columns_of(targets_N, start, width)
        part[1] = torch.where(here, tile_NV.gather(1, column), -torch.inf)
        rows = block_rows(tile_NV)
        if self._scratch.shape[1] < min(rows, tokens) or self._scratch.shape[2] != width:
            self._scratch = tile_NV.new_empty(2, min(rows, tokens), width)
        for z, sums in zip(tile_NV.split(rows), part.split(rows, 1), strict=True):
            self._sum_block(z, sums, finite)
        self._parts.append(part.squeeze(2))
        if len(self._parts) == _PARTS:
            self._parts = [self.state]

    def _sum_block(self, z: Tensor, sums_6N1: Tensor, finite: bool) -> None:
        """The sums of a block of logits. Every operation is a pass over memory: the fewer, the better."""
        top, _, sum_e, sum_ex, sum_e2, sum_e2x = sums_6N1.unbind()
        x, e = self._scratch[:, : len(z)]
        shift = torch.amax(z, 1, True)
        top.copy_(shift)
        if finite:
            torch.sub(z, shift, out=x)
        else:
            # A row of -inf keeps its infinite maximum, but no infinity is subtracted from another.
            torch.sub(z, shift.nan_to_num(nan=torch.nan, posinf=torch.inf, neginf=0.0), out=x).clamp_(min=FLOOR)
        torch.exp(x, out=e)
        torch.sum(e, 1, True, dtype=sum_e.dtype, out=sum_e)
        if self.first:
            sum_ex.copy_(x.mul_(e).sum(1, True))
        if self.cross:
            sum_e2x.copy_(x.mul_(e).sum(1, True))
        if self.second:
            sum_e2.copy_(e.mul_(e).sum(1, True))


def stats_of(state_6N: Tensor, want: frozenset[str], dtype: torch.dtype) -> TokenStats:
    """The wanted statistics, (N,), in `dtype`, from a whole vocabulary's state.

    A token without a finite logit, or with a NaN, gets NaN.
    """
    shift, target, sum_e, sum_ex, sum_e2, sum_e2x = state_6N
    # A maximum that is not finite makes everything NaN.
    log_s = sum_e.log() + 0 * shift
    # The exact value is never negative; the difference can be, by a rounding error.
    entropy = (log_s - sum_ex / sum_e).clamp_min(0)
    collision = sum_e2 / sum_e.square()
    values = {
        "logp": target - shift - log_s,
        "entropy": entropy,
        "baseline": entropy * collision + (sum_e2x - log_s * sum_e2) / sum_e.square(),
        "collision": collision,
    }
    return TokenStats(**{name: values[name].to(dtype) for name in want})


def normalizer_and_logp(state_6N: Tensor) -> tuple[Tensor, Tensor]:
    """log Z and log p_k of each token, (N,) in the state's dtype, from a whole vocabulary's state: what a backward keeps."""
    shift, target, sum_e, *_ = state_6N
    log_s = sum_e.log()
    return shift + log_s, target - shift - log_s


def columns_of(targets_N: Tensor, start: int, width: int) -> tuple[Tensor, Tensor]:
    """Whether each target lies in a tile of `width` columns, and its column there (any, where it does not): (N, 1)."""
    local = targets_N[:, None] - start
    return (local >= 0) & (local < width), local.clamp(0, width - 1)


def block_rows(tile_NV: Tensor) -> int:
    """Rows of a tile to work on at a time, so that they stay in cache; all of them off the CPU."""
    if tile_NV.device.type != "cpu":
        return max(len(tile_NV), 1)
    return max(_BLOCK * torch.get_num_threads() // tile_NV.shape[1], 1)


def combine(parts_P6N: Tensor) -> Tensor:
    """The state over a whole vocabulary, (6, N), from the states over its P parts.

    A part whose maximum lies f below the whole's has sums exp(-f) e, exp(-f) (e*x - f e) and so on, seen from there.
    """
    shift, target, e, ex, e2, e2x = parts_P6N.unbind(1)
    top = shift.amax(0)
    # -inf - -inf, where there is no finite logit yet, falls by nothing.
    fall = (shift - top).clamp_(min=FLOOR).nan_to_num_(nan=0.0)
    decay = fall.exp()
    squared = decay * decay
    return torch.stack(
        [
            top,
            target.amax(0),
            (decay * e).sum(0),
            (decay * torch.addcmul(ex, fall, e)).sum(0),
            (squared * e2).sum(0),
            (squared * torch.addcmul(e2x, fall, e2)).sum(0),
        ]
    )
