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
    return torch.finfo(dtype).eps * (ROUNDINGS + 4 * math.sqrt(terms)) * magnitude


def assert_within(actual: Tensor, expected: Tensor, allowed: Tensor) -> None:
    """Every element within its own budget."""
    excess = (actual.double() - expected.double()).abs() - allowed.double()
    worst = excess.max().item() if excess.numel() else -1.0
    assert worst <= 0, f"{(excess > 0).sum().item()} elements beyond their error budget, one of them by {worst:.3g}"
