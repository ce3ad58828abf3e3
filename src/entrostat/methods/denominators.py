"""What dropped tokens and rows leave to those that stay, in hosts that fix the denominators of their means before the loss.

Something that is dropped leaves the denominator too, so what is kept weighs more.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from entrostat.types import Rollouts, Surrogate, TokenBatch

Mean = Literal["sequence", "token", "fixed"]
"""A mean: over each sequence's tokens first, over the batch's tokens, or by a number that no dropped token changes."""


def token_factor(changed: Surrogate, batch: TokenBatch, mean: Mean) -> Tensor | None:
    """Weights and dropped tokens as one factor per token of this batch, (B, T); None where nothing is changed."""
    if changed.keep_BT is None:
        return changed.weight_BT
    kept = batch.mask & changed.keep_BT
    factor = kept.to(batch.advantages_BT.dtype)
    if mean == "sequence":
        factor = factor * batch.mask.sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp_min(1)
    elif mean == "token":
        factor = factor * batch.mask.sum() / kept.sum().clamp_min(1)
    return factor if changed.weight_BT is None else factor * changed.weight_BT


def kept_advantages(changed: Rollouts, mean: Mean) -> Tensor:
    """The advantages that a reward stage left, (B,) or (B, T): 0 in dropped rows, larger in those that stay."""
    advantages, keep_B = changed.advantages, changed.keep_B
    if keep_B is None:
        return advantages
    lengths = changed.lengths_B.double()
    share = (lengths * keep_B).sum() / lengths.sum() if mean == "token" else keep_B.double().mean()
    factor_B = (keep_B / share.clamp_min(1e-9)).to(advantages.dtype)
    return advantages * (factor_B if advantages.dim() == 1 else factor_B.unsqueeze(1))
