"""The part of an entropy's change that comes from the states that a policy visits.

The mean entropy of a policy changes in two ways: its distributions change at the states of a batch, and it comes to other
states. The first is what the same tokens show when they are evaluated again. For the second, let the mean entropy
be R = E[sum_t H_t] / E[T] over sampled sequences of length T. By the score-function identity

    grad R = ( E[sum_t grad H_t] + E[sum_t grad logp_t G_t] ) / E[T],      G_t = sum_{s > t} (H_s - R)

so the entropy still to come after a token, above the mean, acts as its reward. The R in it accounts for the length: a
token that leads to more tokens of mean entropy changes nothing. G_t may be lowered by anything that does not depend on
the token, here by the mean over the other samples of the prompt.

Derivation: REINFORCE (Williams 1992) with the entropy of later states as reward, and the quotient rule.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from entrostat.errors import DataError
from entrostat.stats.summarize import sum_dtype
from entrostat.types import TokenStats

Pair = tuple[Tensor, Sequence[Hashable] | None, TokenStats, TokenStats]


def entropy_to_go(entropy_BT: Tensor, mask_BT: Tensor, mean: float) -> Tensor:
    """sum over s > t of m_s (H_s - mean), (B, T): the entropy still to come after each token, above the mean [nats]."""
    excess = (entropy_BT - mean).masked_fill(~mask_BT.bool(), 0)
    return excess.flip(1).cumsum(1).flip(1) - excess


def visited_change(
    pairs: Sequence[Pair], mean: float, reduce: Callable[[Tensor], Tensor] | None = None
) -> tuple[float, float]:
    """sum_t (G_t - b_t) (logp_t after - logp_t before) / sum_t m_t: the change through the visited states, and its error.

    The change of the log-probabilities stands for <grad logp, displacement>, to which it is equal to first order, so no backward
    pass is needed.

    Args:
        pairs: of each micro-batch its mask (B, T), the prompts' labels of its rows (or None: no baseline), and the
            statistics of its tokens before and after the step. The tokens must be samples of the policy before it.
        mean: the mean entropy before the step.
        reduce: sum over ranks.

    Returns:
        Both in nats per token: the estimate, and its standard error over sequences. Unlike the change on the same tokens
        it is an estimate, and a noisy one.

    Raises:
        DataError: the masks are empty.
    """
    sums = []
    for mask_BT, prompts, before, after in pairs:
        wide, mask = sum_dtype(mask_BT.device), mask_BT.bool()
        to_go = entropy_to_go(before.need("entropy").to(wide), mask, mean)
        if prompts is not None:
            to_go = to_go - _of_the_others(to_go, mask, prompts)
        moved = after.need("logp").to(wide) - before.need("logp").to(wide)
        sequences = (to_go * moved).masked_fill(~mask, 0).sum(1)
        counts = torch.tensor(float(len(sequences))), mask.sum()
        sums.append(torch.stack([sequences.sum(), sequences.square().sum(), *(n.to(sequences) for n in counts)]))
    vector = torch.stack(sums).sum(0)
    total, square, rows, tokens = (reduce(vector) if reduce else vector).tolist()
    if not tokens:
        raise DataError("the step's mask is empty: it visited no state")
    variance = max(square - total * total / rows, 0.0) * rows / max(rows - 1, 1)
    return total / tokens, math.sqrt(variance) / tokens


def _of_the_others(to_go_BT: Tensor, mask_BT: Tensor, prompts: Sequence[Hashable]) -> Tensor:
    """At each position the mean over the other sequences of the same prompt that are still going on; 0 without any."""
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for row, label in enumerate(prompts):
        rows[label].append(row)
    baseline = torch.zeros_like(to_go_BT)
    alive = mask_BT.to(to_go_BT.dtype)
    for members in rows.values():
        own, going = (to_go_BT * alive)[members], alive[members]
        others = going.sum(0) - going
        baseline[members] = (own.sum(0) - own) / others.clamp_min(1)
    return baseline
