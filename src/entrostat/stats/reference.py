"""The statistics written down as their definitions: what every faster path is tested against."""

from __future__ import annotations

import torch
from torch import Tensor

from entrostat.types import TokenStats


def reference_stats(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> TokenStats:
    """All statistics from the full softmax, in the logits' own dtype, with gradients from autograd.

    Equals, with p = softmax(logits / temperature):
    logp = log p[targets], entropy = -sum p log p, baseline = sum p^2 (H + log p), collision = sum p^2; 0 log 0 = 0.

    Args:
        logits: (..., V).
        targets: (...), token ids.
    """
    logp_V = torch.log_softmax(logits / temperature, dim=-1)
    # A finite stand-in for -inf keeps both the value and the gradient of p log p at 0.
    safe_V = logp_V.masked_fill(logp_V == -torch.inf, -1e4)
    p_V = logp_V.exp()
    entropy = -(p_V * safe_V).sum(-1)
    with torch.no_grad():
        collision = p_V.square().sum(-1)
        baseline = (p_V.square() * (entropy.unsqueeze(-1) + safe_V)).sum(-1)
    return TokenStats(
        logp=logp_V.gather(-1, targets.unsqueeze(-1)).squeeze(-1),
        entropy=entropy,
        baseline=baseline,
        collision=collision,
    )
