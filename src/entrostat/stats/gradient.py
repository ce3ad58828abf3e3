"""The gradient of the statistics with respect to logits, tile by tile.

Of grad_logp * log p_k + grad_entropy * H, with

    d log p_k / d z_j = 1[j = k] - p_j        d H / d z_j = -p_j (log p_j + H)

the gradient is p_j (a log p_j + b), with a = -grad_entropy and b = a H - grad_logp, and grad_logp more at the target. With
y = z - m, where log Z = m + r, that is exp(y) (a' y + b') with a' = a exp(-r) and b' = (b - a r) exp(-r): few passes over a
tile, and everything else once per token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entrostat.stats.online import FLOOR, block_rows, entries


@dataclass(frozen=True)
class LogitGradient:
    """The gradient with respect to the logits z of N tokens.

    It is exp(y) (slope * y + level) with y = z - shift, and `target` more at the target.

    Args:
        shift_N: the log normaliser, rounded to the tiles' dtype; what the rounding took is in the others.
        slope_N, target_N: None where no gradient of the entropy, or of the log-probability, arrives.
    """

    shift_N: Tensor
    slope_N: Tensor | None
    level_N: Tensor
    target_N: Tensor | None

    @classmethod
    def of(
        cls,
        log_normaliser_N: Tensor,
        entropy_N: Tensor,
        grad_logp_N: Tensor | None,
        grad_entropy_N: Tensor | None,
        factor: float = 1.0,
    ) -> LogitGradient:
        """From the gradients that arrive. The normaliser may be fp64: then log p near 0 is right to the last digit.

        factor: of the whole gradient: what the logits are per unit of what the caller asks for.
        """
        dtype = entropy_N.dtype
        shift = log_normaliser_N.to(dtype)
        rest = (log_normaliser_N - shift).nan_to_num(nan=0.0)
        decay = factor * (-rest).exp()
        level = torch.zeros_like(rest) if grad_logp_N is None else -grad_logp_N.to(rest.dtype)
        slope = None
        if grad_entropy_N is not None:
            slope = -grad_entropy_N * decay
            level = level - grad_entropy_N * (entropy_N - rest)
        target = None if grad_logp_N is None else factor * grad_logp_N
        return cls(shift, None if slope is None else slope.to(dtype), (level * decay).to(dtype), target)

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
            token, entry = entries(targets_N, start, logits_NV.shape[1])
            out_NV[token, entry] += self.target_N[token]
        return out_NV
