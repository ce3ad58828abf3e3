"""The gradient of the statistics with respect to logits, tile by tile.

Of grad_logp * log p_k + grad_entropy * H, with

    d log p_k / d z_j = 1[j = k] - p_j        d H / d z_j = -p_j (log p_j + H)

the gradient is p_j (a log p_j + b), with a = -grad_entropy and b = a H - grad_logp, and grad_logp more at the target. With
y = z - m, where log Z = m + r, that is exp(y) (a' y + b') with a' = a exp(-r) and b' = (b - a r) exp(-r): few passes over a
tile, and everything else once per token. At the target 1 - p_k is taken from log p_k in double precision: of a near-certain
token the difference of two numbers near 1 would leave nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entrostat.stats.online import FLOOR, block_rows, columns_of


@dataclass(frozen=True)
class LogitGradient:
    """The gradient with respect to the logits z of N tokens.

    It is exp(y) (slope * y + level) with y = z - shift, and `target` at the target. A token that no gradient arrives at has
    zeros in all of them, whatever its logits hold.

    Args:
        shift_N: the log normalizer, rounded to the tiles' dtype; what the rounding took is in the others.
        slope_N, target_N: None where no gradient of the entropy, or of the log-probability, arrives.
    """

    shift_N: Tensor
    slope_N: Tensor | None
    level_N: Tensor
    target_N: Tensor | None

    @classmethod
    def of(
        cls,
        log_normalizer_N: Tensor,
        logp_N: Tensor,
        entropy_N: Tensor | None,
        grad_logp_N: Tensor | None,
        grad_entropy_N: Tensor | None,
        dtype: torch.dtype,
        factor: float = 1.0,
    ) -> LogitGradient:
        """From the gradients that arrive, one of them at least.

        log_normalizer_N, logp_N: fp64 where the device has it; dtype: that of the tiles.
        entropy_N: where there is a gradient of it.
        factor: of the whole gradient: what the logits are per unit of what the caller asks for.
        """
        shift = log_normalizer_N.to(dtype)
        rest = (log_normalizer_N - shift).nan_to_num(nan=0.0)
        decay = factor * (-rest).exp()
        arrives = active(grad_logp_N, grad_entropy_N)
        level = torch.zeros_like(rest) if grad_logp_N is None else -grad_logp_N.to(rest.dtype)
        target = slope = None
        if grad_logp_N is not None:
            target = -torch.expm1(logp_N) * grad_logp_N
        if grad_entropy_N is not None and entropy_N is not None:
            slope = -grad_entropy_N * decay
            level = level - grad_entropy_N * (entropy_N - rest)
            if target is not None:
                target = target - logp_N.exp() * (logp_N.clamp_min(FLOOR) + entropy_N) * grad_entropy_N

        def rounded(value: Tensor) -> Tensor:
            return value.masked_fill(~arrives, 0).to(dtype).contiguous()

        return cls(
            shift.contiguous(),
            None if slope is None else rounded(slope),
            rounded(level * decay),
            None if target is None else rounded(factor * target),
        )

    def __getitem__(self, rows: slice | Tensor) -> LogitGradient:
        slope, target = self.slope_N, self.target_N
        return LogitGradient(
            self.shift_N[rows],
            None if slope is None else slope[rows],
            self.level_N[rows],
            None if target is None else target[rows],
        )

    def write(self, out_NV: Tensor, logits_NV: Tensor, targets_N: Tensor, start: int, finite: bool = False) -> Tensor:
        """The gradient of a tile of logits, of vocabulary entries `start` to `start + V`, into `out_NV`; may be the tile.

        finite: a promise that no logit is -inf, which spares a pass.
        """
        rows = block_rows(logits_NV)
        scratch = logits_NV.new_empty(min(rows, len(logits_NV)), logits_NV.shape[1])
        for first in range(0, len(logits_NV), rows):
            block = slice(first, first + rows)
            y, level = out_NV[block], self.level_N[block, None]
            torch.sub(logits_NV[block], self.shift_N[block, None], out=y)
            if not finite:
                y.clamp_(min=FLOOR)
            if self.slope_N is None:
                y.exp_().mul_(level)
            else:
                e = torch.exp(y, out=scratch[: len(y)])
                y.mul_(self.slope_N[block, None]).add_(level).mul_(e)
        if self.target_N is not None:
            here, column = columns_of(targets_N, start, logits_NV.shape[1])
            out_NV.scatter_(1, column, torch.where(here, self.target_N[:, None], out_NV.gather(1, column)))
        return out_NV


def active(*grads_N: Tensor | None) -> Tensor:
    """The tokens that a gradient arrives at: the others (padding, a dropped token, a group without spread) cost nothing."""
    first, *others = (grad != 0 for grad in grads_N if grad is not None)
    return first | others[0] if others else first
