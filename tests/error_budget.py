"""How far a sum may be from its exact value on any machine: by rounding, whatever the order of summation.

A sum of n terms, in any order and any blocking, differs from the exact one by about sqrt(n) eps times the sum of the terms'
sizes (rounding errors of random sign; n eps in the worst case: Higham, Accuracy and Stability, section 4.2). Each term brings
errors of its own of a few eps. So a tolerance follows from the machine epsilon, the number of terms and the size of what is
summed, and not from what one processor happened to give.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROUNDINGS = 16.0  # of one term before it is summed: a product, an exponential, a logarithm, each with its argument's


def budget(magnitude: Tensor, terms: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The largest admissible error of a sum of `terms` terms whose sizes add up to `magnitude`, elementwise."""
    about = torch.finfo(dtype)
    return about.eps * (ROUNDINGS + 4 * math.sqrt(terms)) * magnitude + about.tiny * terms


def assert_within(actual: Tensor, expected: Tensor, allowed: Tensor) -> None:
    """Every element within its own budget."""
    excess = (actual.double() - expected.double()).abs() - allowed.double()
    worst = excess.max().item() if excess.numel() else -1.0
    assert worst <= 0, f"{(excess > 0).sum().item()} elements beyond their error budget, one of them by {worst:.3g}"


def moved(logits_NV: Tensor, error_NV: Tensor | float, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """What each statistic may be off by, (N,), where the logits are off by `error_NV` and the rest is rounding in `dtype`.

    From the statistics' derivatives with respect to the logits, every one of their terms taken by its size.
    """
    z = logits_NV.double()
    logp = torch.log_softmax(z, -1)
    p, size = logp.exp(), torch.where(logp == -torch.inf, 0.0, logp.abs())
    entropy = (p * size).sum(-1, keepdim=True)
    # The argument of the exponential is itself rounded: off by eps times its size.
    error = torch.as_tensor(error_NV).double() + torch.finfo(dtype).eps * size
    worst = 2 * error.amax(-1) if error.dim() else 2 * error
    squares = p.square()
    sums = {
        "entropy": (p * (size + entropy)).sum(-1),
        "baseline": 4 * (squares * (size + entropy + 1)).sum(-1),
        "collision": 2 * squares.sum(-1),
    }
    found = {name: worst * value + budget(value, z.shape[-1], dtype) for name, value in sums.items()}
    finite = size.amax(-1)
    return {"logp": worst + budget(1 + finite, z.shape[-1], dtype)} | found


def product(left: Tensor, right: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """What each entry of `left @ right` may be off by, carried out in `dtype`."""
    return budget(left.double().abs() @ right.double().abs(), left.shape[-1], dtype)
