"""Each token's part in what an optimizer step's gradient does to the entropy, and its sums over groups of tokens.

A direction c in parameter space is given, the same for all tokens; token t contributes

    scale * (a_t <c, grad logp_t> + b_t <c, grad H_t>),     a_t = dL/dlogp_t, b_t = dL/dH_t.

`by_difference` gets all tokens' derivatives along c at once, from the change of logp and H between two forward passes.
`by_backward` gets the sum over one group of tokens from a backward pass: slower, and the reference for the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from entrostat.attribution.recompute import MicroBatch, Recomputation, dot, masked, norm, wide
from entrostat.stats.summarize import QUADRANTS, quadrants_of
from entrostat.types import TokenStats

# The finite difference moves a token's log-probability by this much (rms). Its truncation is of second order in the
# nudge, and largest for the few tokens that move most; the rounding of log-probabilities is inverse to it. Measured on
# the tiny policy in fp32: the parts then add up to a few 1e-4 of their sizes or better; at 1e-2 and at 1e-4, to 1e-3.
_NUDGE = {torch.float64: 1e-5}
_NUDGE_FP32 = 1e-3
NEUTRAL, BONUS = "neutral", "bonus"


def groups_of(batch: MicroBatch, stats: TokenStats) -> dict[str, Tensor]:
    """Masks (B, T) that sort tokens by the signs of A and D: the four quadrants, and `neutral` where A = 0."""
    advantages = batch.advantages_BT.expand(batch.mask_BT.shape)
    return quadrants_of(advantages, stats.centered) | {NEUTRAL: advantages == 0}


def by_difference(
    recomputed: Recomputation,
    before: Sequence[Tensor],
    stats: Sequence[TokenStats],
    direction: Sequence[Tensor],
    scale: float,
) -> tuple[dict[str, float], dict[Hashable, float]]:
    """Contributions by group (`groups_of` and `bonus`) and by prompt, from central differences.

    Args:
        before: the parameters at which the derivatives are taken.
        stats: each micro-batch's statistics there.
    """
    sums: dict[str, float] = defaultdict(float)
    prompts: dict[Hashable, float] = defaultdict(float)
    for batch, found, (dlogp, dentropy) in zip(
        recomputed.batches, stats, derivatives(recomputed, before, direction), strict=True
    ):
        by_logp = masked(batch.push_logp_BT * dlogp, batch) * scale
        by_entropy = torch.zeros_like(by_logp)
        if batch.push_entropy_BT is not None:
            by_entropy = masked(batch.push_entropy_BT * dentropy, batch) * scale
        for name, members in groups_of(batch, found).items():
            sums[name] += float(by_logp.masked_fill(~members, 0).sum())
        sums[BONUS] += float(by_entropy.sum())
        if batch.prompts is not None:
            for label, value in zip(batch.prompts, (by_logp + by_entropy).sum(1).tolist(), strict=True):
                prompts[label] += value
    return recomputed.summed(sums), dict(prompts)


def derivatives(
    recomputed: Recomputation, before: Sequence[Tensor], direction: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """<direction, grad logp_t> and <direction, grad H_t> at `before`, (B, T) for each micro-batch."""
    length = norm(direction)
    # Where nothing moves any size will do; otherwise a first guess, a small part of the parameters' own length.
    eps = 1e-4 * (norm(before) or 1.0) / length if length else 1.0
    wanted = _NUDGE.get(before[0].dtype, _NUDGE_FP32)
    for attempt in range(4):
        ends = []
        for sign in (1, -1):
            with recomputed.moved(before, direction, sign * eps):
                ends.append(recomputed.evaluate())
        found = [
            (_difference(up, down, "logp") / (2 * eps), _difference(up, down, "entropy") / (2 * eps))
            for up, down in zip(*ends, strict=True)
        ]
        nudge = recomputed.mean([(dlogp * eps).square() for dlogp, _ in found])[0] ** 0.5
        if not nudge or wanted / 4 <= nudge <= 4 * wanted or attempt == 3:
            break
        eps *= min(max(wanted / nudge, 1e-3), 1e3)  # bounded: so far off it need not be linear
    return found


def by_backward(
    recomputed: Recomputation,
    before: Sequence[Tensor],
    stats: Sequence[TokenStats],
    direction: Sequence[Tensor],
    scale: float,
) -> dict[str, float]:
    """The groups' contributions as in `by_difference`, from one forward and backward pass for each."""
    sums: dict[str, float] = dict.fromkeys([*QUADRANTS, NEUTRAL, BONUS], 0.0)
    with recomputed.moved(before):
        for batch, found in zip(recomputed.batches, stats, strict=True):
            groups = groups_of(batch, found).items()
            pushes = [(name, "logp", batch.push_logp_BT.masked_fill(~members, 0)) for name, members in groups]
            if batch.push_entropy_BT is not None:
                pushes.append((BONUS, "entropy", batch.push_entropy_BT))
            for name, statistic, push in pushes:
                if bool(masked(push, batch).any()):
                    pushed = masked(batch.evaluate().need(statistic) * push, batch).sum()
                    parts = torch.autograd.grad(pushed, recomputed.parameters, allow_unused=True)
                    along = (dot(c, part) for c, part in zip(direction, parts, strict=True) if part is not None)
                    sums[name] += scale * sum(along)
    return recomputed.summed(sums)


def _difference(up: TokenStats, down: TokenStats, name: str) -> Tensor:
    high, low = up.need(name), down.need(name)
    return high.to(wide(high)) - low.to(wide(low))
