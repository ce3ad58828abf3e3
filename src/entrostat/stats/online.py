"""An online softmax: every statistic of a distribution from one pass over tiles of its logits.

Per token it carries the running maximum m and, with x = z - m and e = exp(x), the sums of e, e*x, e^2 and e^2*x that the
wanted statistics need. With s = sum e:

    log Z      = m + log s
    entropy    = log s - (sum e*x) / s
    collision  = (sum e^2) / s^2
    baseline   = sum p^2 (H + log p) = H * collision + ((sum e^2*x) - log s * (sum e^2)) / s^2

Shifting x by the maximum keeps the sums near 1, which is what makes the small entropies of trained policies right in
fp32. A logit of -inf (masked vocabulary, top-p) has e = 0 and adds nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entrostat.types import TokenStats

# exp() of it is exactly zero in fp32 and in fp64, and zero times it is zero, where zero times -inf would be NaN.
_FLOOR = -2000.0


class OnlineSoftmax:
    """Sums over the vocabulary for N tokens, folded tile by tile.

    Args:
        tokens: N.
        want: statistics wanted, of `types.STATISTICS`.
        dtype: dtype of the sums, fp32 or fp64.
    """

    def __init__(self, tokens: int, want: frozenset[str], dtype: torch.dtype, device: torch.device) -> None:
        zeros = torch.zeros(tokens, dtype=dtype, device=device)
        self.second = bool(want & {"baseline", "collision"})
        self.first = bool(want & {"entropy", "baseline"})
        self.cross = "baseline" in want
        self.shift = torch.full_like(zeros, -torch.inf)
        self.sum_e = zeros.clone()
        self.sum_ex = zeros.clone() if self.first else None
        self.sum_e2 = zeros.clone() if self.second else None
        self.sum_e2x = zeros.clone() if self.cross else None
        self.target_logit = torch.full_like(zeros, -torch.inf)

    def fold(self, tile_NV: Tensor, targets_N: Tensor, start: int) -> None:
        """Add the logits of vocabulary entries `start` to `start + V`. Overwrites the tile, which has the sums' dtype."""
        width = tile_NV.shape[1]
        local = targets_N - start
        here = (local >= 0) & (local < width)
        target = tile_NV.gather(1, local.clamp(0, width - 1).unsqueeze(1)).squeeze(1)
        self.target_logit = torch.where(here, target, self.target_logit)

        shift = torch.maximum(self.shift, tile_NV.amax(1))
        finite = torch.where(shift == -torch.inf, torch.zeros_like(shift), shift)
        # How far the maximum rose; before the first finite logit there is nothing to rescale.
        rise = torch.where(self.shift == -torch.inf, torch.zeros_like(shift), finite - self.shift)
        decay = (-rise).exp()
        x = tile_NV.sub_(finite.unsqueeze(1)).clamp_(min=_FLOOR)
        e = x.exp()
        if self.sum_e2x is not None and self.sum_e2 is not None:
            self.sum_e2x.sub_(rise * self.sum_e2).mul_(decay * decay)
        if self.sum_e2 is not None:
            self.sum_e2.mul_(decay * decay).add_(torch.linalg.vecdot(e, e))
        if self.sum_ex is not None:
            self.sum_ex.sub_(rise * self.sum_e).mul_(decay)
        self.sum_e.mul_(decay).add_(e.sum(1))
        if self.sum_ex is not None:
            ex = x.mul_(e)
            self.sum_ex.add_(ex.sum(1))
            if self.sum_e2x is not None:
                self.sum_e2x.add_(torch.linalg.vecdot(ex, e))
        self.shift = shift

    def log_normaliser(self) -> Tensor:
        """log Z of each token, (N,)."""
        return self.shift + self.sum_e.log()

    def stats(self, want: frozenset[str]) -> TokenStats:
        """The wanted statistics, (N,). A token without a finite logit, or with a NaN, gets NaN."""
        log_s = self.sum_e.log()
        entropy = collision = baseline = None
        if self.sum_ex is not None:
            # The exact value is never negative; the difference can be, by a rounding error.
            entropy = (log_s - self.sum_ex / self.sum_e).clamp_min(0)
        if self.sum_e2 is not None:
            collision = self.sum_e2 / self.sum_e.square()
        if self.sum_e2x is not None and self.sum_e2 is not None and entropy is not None and collision is not None:
            mean_log = (self.sum_e2x - log_s * self.sum_e2) / self.sum_e.square()
            baseline = entropy * collision + mean_log
        return TokenStats(
            logp=self.target_logit - self.shift - log_s if "logp" in want else None,
            entropy=entropy if "entropy" in want else None,
            baseline=baseline,
            collision=collision if "collision" in want else None,
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

    d logp_k / d z_j = 1[j = k] - p_j   and   d H / d z_j = -p_j (log p_j + H), with 0 where p_j = 0.
    """
    logp = logits_NV.sub_(log_normaliser_N.unsqueeze(1)).clamp_(min=_FLOOR)
    p = logp.exp()
    if grad_entropy_N is not None:
        grad = logp.add_(entropy_N.unsqueeze(1)).mul_(p).mul_(-grad_entropy_N.unsqueeze(1))
        if grad_logp_N is not None:
            grad.addcmul_(p, grad_logp_N.unsqueeze(1), value=-1)
    else:
        assert grad_logp_N is not None
        grad = p.mul_(-grad_logp_N.unsqueeze(1))
    if grad_logp_N is not None:
        local = targets_N - start
        rows = ((local >= 0) & (local < logits_NV.shape[1])).nonzero().squeeze(1)
        grad[rows, local[rows]] += grad_logp_N[rows]
    return grad
