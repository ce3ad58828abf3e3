"""The sums over a micro-batch that make up an optimizer step's account of its entropy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields

import torch
from torch import Tensor

from entrostat.stats.clusters import CLUSTER_SUMS, cluster_sums
from entrostat.types import Divisors, Summary, TokenBatch, Want

# Positions summed at once: their columns stay in the processor's cache, those of a large batch in fp64 would be many times the
# batch itself.
_POSITIONS = 1 << 17

_SAME = 1e-3  # log ratios of an unchanged policy, whatever the rounding of two forward passes

PROBABILITY_EDGES = (0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999)
"""Edges of the histogram of the sampled tokens' probabilities; bin i holds edges[i-1] < p <= edges[i]."""

QUADRANTS = {
    "positive_likely": (True, True),
    "positive_unlikely": (True, False),
    "negative_likely": (False, True),
    "negative_unlikely": (False, False),
}
"""(advantage > 0, D > 0): which of the four kinds of token moved the entropy. The first and last lower it."""


def quadrants_of(advantages_BT: Tensor, centered_BT: Tensor) -> dict[str, Tensor]:
    """Masks (B, T) of the four kinds of token, by their names in `QUADRANTS`; D = 0 counts as unlikely, A = 0 is of none."""
    likely = centered_BT > 0
    return {
        name: (advantages_BT > 0 if positive else advantages_BT < 0) & (likely if is_likely else ~likely)
        for name, (positive, is_likely) in QUADRANTS.items()
    }


def sum_dtype(device: torch.device) -> torch.dtype:
    """fp64 for sums over a batch, fp32 where the device has no fp64."""
    return torch.float32 if device.type in ("mps", "npu", "xpu") else torch.float64


def summary_names(want: Iterable[Want]) -> tuple[str, ...]:
    """The names of the sums of `summarize` where these statistics are there: known before the first batch."""
    have = set(want)
    names = [
        "tokens",
        "tokens/measured",
        "tokens/positive",
        "tokens/negative",
        "tokens/not_finite",
        "sequences",
        "batches",
        *(f"divisor/{each.name}" for each in fields(Divisors)),
    ]
    if "entropy" in have:
        names += ["entropy", "entropy_sq", "entropy/positive", "entropy/negative", *CLUSTER_SUMS]
    if "logp" in have:
        names += ["surprisal", *(f"probability/{i}" for i in range(len(PROBABILITY_EDGES) + 1))]
    if {"logp", "entropy"} <= have:
        names += ["on_policy/tokens", "on_policy/gap", "on_policy/gap_sq"]
    if {"logp", "entropy", "baseline"} <= have:
        names += [
            "discriminator",
            "centered",
            "centered_sq",
            "flow_sq",
            "flow",
            *(f"flow/{name}" for name in QUADRANTS),
        ]
    return tuple(sorted(names))


@torch.no_grad()
def summarize(batch: TokenBatch, push_BT: Tensor | None = None) -> Summary:
    """Additive sums over the masked tokens of one micro-batch, as 0-dimensional tensors.

    Always: `tokens`, `sequences`, `batches` (1, or 0 without tokens), `tokens/not_finite` (whose advantage is no finite number:
    for the other sums it is 0), `divisor/...` of a batch that has `divisors`, and where the statistics allow:

    * entropy: `entropy`, `entropy_sq` over the `tokens/measured`, those sampled from the policy, and over their sequences or
      prompts those of `stats.clusters`; split by the sign of the advantage `entropy/positive`, `tokens/positive`,
      `entropy/negative`, `tokens/negative`
    * both, over the sequences whose importance ratios are all 1: `on_policy/tokens`, and of surprisal - entropy
      `on_policy/gap` and `on_policy/gap_sq`
    * logp: `surprisal`, histogram `probability/0` to `probability/7` over `PROBABILITY_EDGES`
    * with the baseline: `discriminator` (S), `centered` (D) and its square `centered_sq`, `flow_sq` (A D)^2, the
      first-order change of entropy `flow` = -push D per unit of step at the logits, and its four parts `flow/<quadrant>`

    On a CPU a large batch is summed some rows at a time.

    Args:
        push_BT: how far the loss pushes each token's log-probability, 0 where a clip has stopped it (`token_push`); None:
            r A, as where nothing is clipped.

    Raises:
        DataError: from the batch, when shapes do not fit.
    """
    count, length = batch.mask_BT.shape
    size = max(_POSITIONS // max(length, 1), 1)
    dtype = sum_dtype(batch.mask_BT.device)
    total = Summary({"batches": batch.mask.any().to(dtype)})
    if batch.divisors is not None:
        own = {f"divisor/{of}": value for of, value in vars(batch.divisors).items()}
        total = total + Summary({n: torch.as_tensor(v, dtype=dtype, device=batch.mask.device) for n, v in own.items()})
    if batch.stats.entropy is not None:
        total = total + Summary(cluster_sums(batch.stats.entropy, batch.measured, batch.groups_B, dtype))
    if count <= size or batch.mask_BT.device.type != "cpu":
        return total + _sums(batch, push_BT)
    for first in range(0, count, size):
        rows = slice(first, first + size)
        total = total + _sums(batch.rows(rows), None if push_BT is None else push_BT[rows])
    return total


def _sums(batch: TokenBatch, push_BT: Tensor | None) -> Summary:
    """`summarize` in one go."""
    mask = batch.mask
    dtype = sum_dtype(mask.device)
    outside = ~mask
    sums: dict[str, Tensor | float] = {
        name: column.masked_fill(outside, 0).sum(dtype=dtype) for name, column in _columns(batch, push_BT).items()
    }
    sums |= {name: column.sum(dtype=dtype) for name, column in _measured_columns(batch).items()}
    sums["sequences"] = mask.any(1).sum().to(dtype)
    if "logp" in batch.stats.available():
        sums |= _histogram(batch.stats.detach().prob, batch.measured, dtype)
    return Summary(sums)


def _columns(batch: TokenBatch, push_BT: Tensor | None) -> dict[str, Tensor]:
    """What is summed over the masked tokens, by the name of the sum."""
    mask, stats = batch.mask, batch.stats.detach()
    have = stats.available()
    lost = ~batch.advantages_BT.isfinite()
    advantages = batch.advantages_BT.masked_fill(lost, 0)
    positive, negative = mask & (advantages > 0), mask & (advantages < 0)
    columns: dict[str, Tensor] = {"tokens": mask, "tokens/positive": positive, "tokens/negative": negative}
    columns["tokens/not_finite"] = mask & lost
    if "entropy" in have:
        entropy = stats.need("entropy")
        columns["entropy/positive"] = entropy.masked_fill(~positive, 0)
        columns["entropy/negative"] = entropy.masked_fill(~negative, 0)
    if {"logp", "entropy", "baseline"} <= have:
        centered = stats.centered
        gain = advantages * centered
        flow = -batch.ratio.detach() * gain if push_BT is None else -push_BT.masked_fill(lost, 0) * centered
        columns |= {
            "discriminator": stats.discriminator,
            "centered": centered,
            "centered_sq": centered.square(),
            "flow_sq": gain.square(),
            "flow": flow,
        }
        for name, (advantage_up, likely) in QUADRANTS.items():
            inside = (positive if advantage_up else negative) & (centered > 0 if likely else centered < 0)
            columns[f"flow/{name}"] = flow.masked_fill(~inside, 0)
    return columns


def _measured_columns(batch: TokenBatch) -> dict[str, Tensor]:
    """What is summed over the measured tokens, also over those that have left the mask; 0 at all others."""
    measured, stats = batch.measured, batch.stats.detach()
    have, outside = stats.available(), ~measured
    columns: dict[str, Tensor] = {"tokens/measured": measured}
    if "entropy" in have:
        entropy = stats.need("entropy").masked_fill(outside, 0)
        columns |= {"entropy": entropy, "entropy_sq": entropy.square()}
    if "logp" in have:
        columns["surprisal"] = stats.surprisal.masked_fill(outside, 0)
    if {"logp", "entropy"} <= have:
        # Only where the policy is the one that sampled does the surprisal tell its entropy.
        same = (batch.log_ratio.detach().abs() < _SAME).all(1, keepdim=True) & measured
        gap = (stats.surprisal - stats.need("entropy")).masked_fill(~same, 0)
        columns |= {"on_policy/tokens": same, "on_policy/gap": gap, "on_policy/gap_sq": gap.square()}
    return columns


def _histogram(prob: Tensor, measured: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """How many of the measured tokens lie between neighboring `PROBABILITY_EDGES`."""
    prob = prob.float().masked_fill(~measured, math.inf)
    up_to = [(prob <= edge).sum() for edge in PROBABILITY_EDGES]
    none = measured.new_zeros((), dtype=torch.long)
    counts = (b - a for a, b in zip([none, *up_to], [*up_to, measured.sum()], strict=True))
    return {f"probability/{i}": count.to(dtype) for i, count in enumerate(counts)}
