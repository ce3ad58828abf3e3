"""An online softmax: every statistic of a distribution from one pass over tiles of its logits.

Per token it carries the running maximum m and, with x = z - m and e = exp(x), the sums of e, e*x, e^2 and e^2*x that the
wanted statistics need. With s = sum e:

    log Z      = m + log s
    entropy    = log s - (sum e*x) / s
    collision  = (sum e^2) / s^2
    baseline   = sum p^2 (H + log p) = H * collision + ((sum e^2*x) - log s * (sum e^2)) / s^2

Shifting x by the maximum keeps the sums near 1, which is what makes the small entropies of trained policies right in
fp32. A logit of -inf (masked vocabulary, top-p) has e = 0 and adds nothing.

The sums of two parts of a vocabulary combine by shifting both to the larger maximum (`combine`), whether the parts are
tiles, or shards on several ranks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entrostat.types import TokenStats

# exp() of it is exactly zero in fp32 and in fp64, and zero times it is zero, where zero times -inf would be NaN.
_FLOOR = -2000.0

# Logits that one thread works on at a time: with their exponentials 1 MB, so that all passes but the first find them in
# the second-level cache. On other devices a tile is one block.
_BLOCK = 1 << 17

SUMS = ("shift", "target", "e", "ex", "e2", "e2x")
"""The rows of a state: the maximum m, the target's logit, and the four sums."""


class OnlineSoftmax:
    """Sums over the vocabulary for N tokens, folded tile by tile.

    Args:
        tokens: N.
        want: statistics wanted, of `types.STATISTICS`.
        dtype: dtype of the sums, fp32 or fp64.

    Attributes:
        state: (6, N), the rows named by `SUMS`; a sum that no wanted statistic needs stays 0.
    """

    def __init__(self, tokens: int, want: frozenset[str], dtype: torch.dtype, device: torch.device) -> None:
        self.first = bool(want & {"entropy", "baseline"})
        self.second = bool(want & {"baseline", "collision"})
        self.cross = "baseline" in want
        self.state = _empty(tokens, dtype, device)
        self._scratch: Tensor | None = None

    def fold(self, tile_NV: Tensor, targets_N: Tensor, start: int) -> None:
        """Add the logits of vocabulary entries `start` to `start + V`. Overwrites the tile, which has the sums' dtype."""
        part = _empty(tile_NV.shape[0], tile_NV.dtype, tile_NV.device)
        local = targets_N - start
        here = (local >= 0) & (local < tile_NV.shape[1])
        target = tile_NV.gather(1, local.clamp(0, tile_NV.shape[1] - 1).unsqueeze(1)).squeeze(1)
        part[1] = torch.where(here, target, part[1])
        rows = block_rows(tile_NV)
        if self._scratch is None or self._scratch.numel() < rows * tile_NV.shape[1]:
            self._scratch = tile_NV.new_empty(rows * tile_NV.shape[1])
        for x, sums in zip(tile_NV.split(rows), part.split(rows, 1), strict=True):
            self._sum_block(x, sums)
        self.state = combine(torch.stack([self.state, part]))

    def _sum_block(self, x: Tensor, sums_6N: Tensor) -> None:
        """The sums of a block of logits, which it overwrites. Reduces in place: each pass is paid in memory traffic."""
        assert self._scratch is not None
        shift, _, sum_e, sum_ex, sum_e2, sum_e2x = sums_6N
        e = self._scratch[: x.numel()].view_as(x)
        torch.amax(x, 1, out=shift)
        # A row of -inf keeps the finite maximum of an empty one, so that no infinity is subtracted from another.
        x.sub_(shift.clamp_(min=torch.finfo(x.dtype).min).unsqueeze(1))
        torch.exp(x, out=e)
        torch.sum(e, 1, out=sum_e)
        if self.first:
            # A logit of -inf is 0 * -inf = NaN here, which nansum leaves out; a NaN among the logits shows in sum_e.
            torch.nansum(x.mul_(e), 1, out=sum_ex)
        if self.cross:
            torch.nansum(x.mul_(e), 1, out=sum_e2x)
        if self.second:
            torch.sum(e.mul_(e), 1, out=sum_e2)

    def log_normaliser(self) -> Tensor:
        """log Z of each token, (N,)."""
        return self.state[0] + self.state[2].log()

    def stats(self, want: frozenset[str]) -> TokenStats:
        """The wanted statistics, (N,). A token without a finite logit, or with a NaN, gets NaN."""
        shift, target, sum_e, sum_ex, sum_e2, sum_e2x = self.state
        log_s = sum_e.log()
        # The exact value is never negative; the difference can be, by a rounding error.
        entropy = (log_s - sum_ex / sum_e).clamp_min(0) if self.first else log_s
        collision = sum_e2 / sum_e.square()
        baseline = entropy * collision + (sum_e2x - log_s * sum_e2) / sum_e.square()
        return TokenStats(
            logp=target - shift - log_s if "logp" in want else None,
            entropy=entropy if "entropy" in want else None,
            baseline=baseline if "baseline" in want else None,
            collision=collision if "collision" in want else None,
            top1=(target == shift).to(log_s.dtype) + 0 * log_s if "top1" in want else None,
        )


def _empty(tokens: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The state of N tokens over no vocabulary at all."""
    state = torch.zeros(len(SUMS), tokens, dtype=dtype, device=device)
    state[0] = torch.finfo(dtype).min
    state[1] = -torch.inf
    return state


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
    fall = (shift - top).clamp_(min=_FLOOR)
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


def logit_gradient(
    logits_NV: Tensor,
    targets_N: Tensor,
    start: int,
    log_normaliser_N: Tensor,
    entropy_N: Tensor,
    grad_logp_N: Tensor | None,
    grad_entropy_N: Tensor | None,
) -> Tensor:
    """Gradient of sum(grad_logp * logp + grad_entropy * H) with respect to one tile of logits; overwrites the tile.

    d logp_k / d z_j = 1[j = k] - p_j   and   d H / d z_j = -p_j (log p_j + H), with 0 where p_j = 0. So off the target
    the gradient is p_j (a log p_j + b) with a = -grad_entropy and b = -(grad_entropy * H + grad_logp).
    """
    slope = None if grad_entropy_N is None else -grad_entropy_N
    level = torch.zeros_like(log_normaliser_N) if slope is None else slope * entropy_N
    if grad_logp_N is not None:
        level = level - grad_logp_N
    rows = block_rows(logits_NV)
    scratch = logits_NV.new_empty(min(rows, len(logits_NV)), logits_NV.shape[1])
    for first in range(0, len(logits_NV), rows):
        block = slice(first, first + rows)
        x = logits_NV[block].sub_(log_normaliser_N[block].unsqueeze(1)).clamp_(min=_FLOOR)
        if slope is None:
            x.exp_().mul_(level[block].unsqueeze(1))
        else:
            p = torch.exp(x, out=scratch[: len(x)])
            x.mul_(slope[block].unsqueeze(1)).add_(level[block].unsqueeze(1)).mul_(p)
    if grad_logp_N is not None:
        local = targets_N - start
        here = ((local >= 0) & (local < logits_NV.shape[1])).nonzero().squeeze(1)
        logits_NV[here, local[here]] += grad_logp_N[here]
    return logits_NV
