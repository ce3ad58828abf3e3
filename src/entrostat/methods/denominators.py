"""What dropped tokens and rows leave to those that stay: they leave the denominator too, so what is kept weighs more.

Hosts that fix the denominators of their means before the loss take it from here, and so does what is predicted of a step.
"""

from __future__ import annotations

from torch import Tensor

from entrostat.methods.objectives import token_push
from entrostat.types import Mean, Rollouts, Surrogate, TokenBatch


def mean_of(changed: Surrogate) -> Mean:
    """What the objective's loss is averaged over."""
    return changed.mean or ("sequence" if changed.objective in ("grpo", "gspo") else "token")


def kept_factor(changed: Surrogate, batch: TokenBatch) -> Tensor | None:
    """How much more each kept token of this batch weighs, (B, T), 0 for dropped ones; None where none is dropped."""
    if changed.keep_BT is None:
        return None
    kept = batch.mask & changed.keep_BT
    factor, mean = kept.to(batch.advantages_BT.dtype), mean_of(changed)
    if mean == "sequence":
        factor = factor * batch.mask.sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp_min(1)
        # A row without a kept token leaves the mean over rows.
        return factor * batch.mask.any(1).sum() / kept.any(1).sum().clamp_min(1)
    if mean in ("token", "batch"):
        return factor * batch.mask.sum() / kept.sum().clamp_min(1)
    return factor


def kept_push(changed: Surrogate, batch: TokenBatch, push_BT: Tensor | None = None) -> Tensor:
    """`token_push` (given where it is known) with what dropped tokens leave to the kept ones, (B, T); no gradient."""
    push, kept = token_push(changed, batch) if push_BT is None else push_BT, kept_factor(changed, batch)
    return push if kept is None else push * kept


def step_push(changed: Surrogate, batch: TokenBatch, push_BT: Tensor | None = None) -> Tensor:
    """`kept_push` as the loss's mean weighs it where this batch is the whole step, (B, T), in units of a mean over its tokens.

    A mean over sequences gives each row one vote, so the tokens of a short answer weigh more (GRPO 2402.03300, Eq. 3); under
    any other mean all tokens weigh alike.
    """
    push = kept_push(changed, batch, push_BT)
    if mean_of(changed) != "sequence":
        return push
    length_B1 = batch.mask.sum(1, keepdim=True)
    return push * batch.mask.sum() / (batch.mask.any(1).sum().clamp_min(1) * length_B1.clamp_min(1))


def token_factor(changed: Surrogate, batch: TokenBatch) -> Tensor | None:
    """Weights and dropped tokens as one factor per token of this batch, (B, T); None where nothing is changed."""
    factor = kept_factor(changed, batch)
    if factor is None or changed.weight_BT is None:
        return changed.weight_BT if factor is None else factor
    return factor * changed.weight_BT


def kept_advantages(changed: Rollouts, mean: Mean) -> Tensor:
    """The advantages that a reward stage left, (B,) or (B, T): 0 in dropped rows, larger in those that stay."""
    advantages, keep_B = changed.advantages, changed.keep_B
    if keep_B is None:
        return advantages
    lengths = changed.lengths_B.double()
    share = (lengths * keep_B).sum() / lengths.sum() if mean in ("token", "batch") else keep_B.double().mean()
    factor_B = (keep_B / share.clamp_min(1e-9)).to(advantages.dtype)
    return advantages * (factor_B if advantages.dim() == 1 else factor_B.unsqueeze(1))
