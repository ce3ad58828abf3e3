"""Entropy estimated from sampled tokens alone, where no distribution is at hand (an inference server, a training API).

An estimate, never to be shown as the exact number, and never a per-token entropy: one token's surprisal says nothing
about the entropy at its position.
"""

from __future__ import annotations

from torch import Tensor

from entrostat.errors import DataError
from entrostat.types.checks import check_mask, check_tensors


def sampled_entropy(logp_BT: Tensor, mask_BT: Tensor, ratio_BT: Tensor | None = None) -> Tensor:
    """mean(-ratio * logp) over the masked tokens [nats per token], a 0-dimensional tensor; NaN on an empty mask.

    Without `ratio_BT` it is unbiased for tokens that were sampled from this very policy at temperature 1; with the
    importance ratio p / p_old also for tokens sampled from another.

    Source: the approximate entropy of NeMo-RL.
    """
    check_tensors(logp_BT=logp_BT, mask_BT=mask_BT)
    if mask_BT.shape != logp_BT.shape:
        raise DataError(f"mask_BT must have the shape of logp_BT, {tuple(logp_BT.shape)}, got {tuple(mask_BT.shape)}")
    check_mask("mask_BT", mask_BT)
    surprisal = -logp_BT if ratio_BT is None else -ratio_BT * logp_BT
    mask = mask_BT.bool()
    return surprisal.masked_fill(~mask, 0).sum() / mask.sum()
