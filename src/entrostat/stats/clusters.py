"""How well one batch knows its mean entropy: the standard error of a mean over tokens that come in clusters.

    m = sum h_c / sum n_c,    se^2 = G / (G - 1) * sum (h_c - m n_c)^2 / (sum n_c)^2

over G clusters of n_c tokens whose entropies add up to h_c. A cluster is what one prompt brought, or one sequence where nobody
says which rows answer one prompt: tokens of one text go together, so that an error which takes them for independent is several
times too small. Expanded, it is made of sums that add over micro-batches and ranks (of prompts: as long as no prompt has its rows
split between them; where one has, each part counts as a cluster of its own, and the error comes out a little too small).

Source: cluster-robust variance of a ratio (Liang and Zeger, Biometrika 73(1), 1986; Cochran, Sampling Techniques, 1977, 9A.4).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from entrostat.types import Summary

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CLUSTER_SUMS = ("clusters", "clusters/entropy_sq", "clusters/entropy_tokens", "clusters/tokens_sq")
"""G, sum h^2, sum h n, sum n^2: what `cluster_sums` adds up."""


def cluster_sums(entropy_BT: Tensor, mask_BT: Tensor, groups_B: Tensor | None, dtype: torch.dtype) -> dict[str, Tensor]:
    """The sums named in `CLUSTER_SUMS`, as 0-dimensional tensors.

    Args:
        entropy_BT: of each token [nats]. mask_BT: the tokens that count.
        groups_B: equal numbers where rows answer one prompt; None: each row is a cluster.
        dtype: of the sums; give fp64 where the device has it.
    """
    return sums_of_clusters(*rows_of(entropy_BT, mask_BT, dtype), groups_B)


def rows_of(entropy_BT: Tensor, mask_BT: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Number of tokens and sum of their entropies [nats] of each row, (B,)."""
    return mask_BT.sum(1).to(dtype), entropy_BT.detach().masked_fill(~mask_BT, 0).sum(1, dtype=dtype)


def sums_of_clusters(tokens: Tensor, entropy: Tensor, groups_B: Tensor | None) -> dict[str, Tensor]:
    """`cluster_sums` from the rows of one or more micro-batches, (B,): a prompt that is cut between them is one cluster."""
    dtype = tokens.dtype
    if groups_B is not None:
        names, place = groups_B.unique(return_inverse=True)
        tokens, entropy = (each.new_zeros(len(names)).index_add(0, place, each) for each in (tokens, entropy))
    values = ((tokens > 0).sum().to(dtype), entropy.square().sum(), (entropy * tokens).sum(), tokens.square().sum())
    return dict(zip(CLUSTER_SUMS, values, strict=True))


def standard_error(summary: Summary) -> float | None:
    """Of the mean entropy of an optimizer step [nats], from its sums; None with fewer than two clusters, or without them."""
    clusters, entropy_sq, entropy_tokens, tokens_sq = map(summary.get, CLUSTER_SUMS)
    if clusters < 2:
        return None
    mean = summary.mean("entropy")
    spread = max(entropy_sq - 2 * mean * entropy_tokens + mean**2 * tokens_sq, 0.0)
    return math.sqrt(clusters / (clusters - 1) * spread) / summary.measured
