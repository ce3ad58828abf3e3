"""Top fractions and their thresholds, over a stated scope.

| scope | over which tokens |
| --- | --- |
| "micro" | of this micro-batch |
| "step" | of the optimizer step, all micro-batches and ranks |
| "sequence" | of each completion |
| "group" | of the completions of each prompt |

A "step" is this very one where the host has it at hand (`step_on`, verl's driver), else the last one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from entrostat.errors import ConfigError, DataError
from entrostat.types import TokenBatch

Scope: TypeAlias = Literal["micro", "step", "sequence", "group"]
_DIGIT = 1 << 16


@dataclass(frozen=True)
class Top:
    """The largest `share` of some values: ceil(share n) of n, or with `rounding="down"` max(1, floor(share n))."""

    share: float
    rounding: Literal["up", "down"] = "up"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigError(
                f"a share of the tokens must lie in (0, 1], got {self.share!r}; a percentage is divided by 100"
            )

    def count(self, n: int) -> int:
        # 1e-9: a share such as 0.2 is not exact in binary, and must not make 2 of 10 into 3.
        return math.ceil(self.share * n - 1e-9) if self.rounding == "up" else max(1, math.floor(self.share * n + 1e-9))


def threshold(values: Tensor, top: Top) -> float:
    """The smallest of the largest values, of one process's; infinity where there are none."""
    values = values.float()
    values = values[~values.isnan()]
    return float(values.topk(top.count(values.numel())).values[-1]) if values.numel() else math.inf


def mean_over(
    values_BT: Tensor, batch: TokenBatch, scope: Literal["micro", "step"], remembered: float | None
) -> Tensor | float:
    """The mean of values over this batch's tokens, or over the last step's as a link remembers it (0 before the first)."""
    if scope == "micro" or batch.whole_step:
        return values_BT.masked_fill(~batch.mask, 0).sum() / batch.mask.sum().clamp_min(1)
    return 0.0 if remembered is None else remembered


@torch.no_grad()
def in_top(
    values_BT: Tensor,
    mask_BT: Tensor,
    top: Top,
    scope: Scope,
    batch: TokenBatch,
    remembered: float | None = None,
) -> Tensor:
    """The tokens of `mask_BT` whose value is among the largest share of its scope, (B, T) booleans. Ties are all in.

    Args:
        remembered: the threshold of the last step, for scope "step"; None before there is one: nothing is in.

    Raises:
        DataError: scope "group" without `groups_B` in the batch.
    """
    values, mask = values_BT.detach().float(), mask_BT.bool()
    if scope == "sequence":
        return mask & (values >= _row_thresholds(values, mask, top))
    if scope == "group":
        if batch.groups_B is None:
            raise DataError("scope='group' needs to know which rows answer one prompt: pass groups_B in the batch")
        inside = torch.zeros_like(mask)
        for group in batch.groups_B.unique():
            rows = batch.groups_B == group
            inside[rows] = mask[rows] & (values[rows] >= threshold(values[rows][mask[rows]], top))
        return inside
    if scope == "step" and not batch.whole_step:
        return mask & (values >= (math.inf if remembered is None else remembered))
    return mask & (values >= threshold(values[mask], top))


def _row_thresholds(values_BT: Tensor, mask_BT: Tensor, top: Top) -> Tensor:
    """Of each row, (B, 1)."""
    counts = [max(top.count(n), 1) - 1 if n else 0 for n in mask_BT.sum(1).tolist()]
    ordered = values_BT.masked_fill(~mask_BT, -math.inf).sort(1, descending=True).values
    return ordered.gather(1, torch.tensor(counts, device=values_BT.device).unsqueeze(1))


def thresholds(
    pools: Mapping[str, Tensor], tops: Mapping[str, Top], all_reduce: Callable[[Tensor], Tensor] | None = None
) -> dict[str, float]:
    """The threshold of each pool over all ranks, exact in fp32; a pool that is empty everywhere has none.

    A radix select: two histograms of 65,536 counts are added over the ranks, whatever the number of values, so a rank that
    has none takes part like the others.

    Args:
        pools: this rank's values by name, 1-dimensional; the same names in the same order on every rank.
        all_reduce: takes a vector and returns its sum over ranks; None on a single process.
    """
    if all_reduce is None:
        found = {name: threshold(values, tops[name]) for name, values in pools.items()}
        return {name: value for name, value in found.items() if value < math.inf}
    names = list(pools)
    keys = [_keys(pools[name]) for name in names]
    high = _histograms([key // _DIGIT for key in keys], all_reduce)
    ranks = [tops[name].count(int(row.sum())) for name, row in zip(names, high, strict=True)]
    places = [_place(row, rank) for row, rank in zip(high, ranks, strict=True)]
    low = _histograms(
        [key[key // _DIGIT == digit] % _DIGIT for key, (digit, _) in zip(keys, places, strict=True)], all_reduce
    )
    exact: dict[str, float] = {}
    for name, row, (digit, left), whole in zip(names, low, places, high, strict=True):
        if whole.sum():
            exact[name] = _value(digit * _DIGIT + _place(row, left)[0])
    return exact


def _keys(values: Tensor) -> Tensor:
    """Whole numbers from 0 to 2^32 - 1 in the order of the values."""
    # Adding 0 makes -0 into 0. The bits of a negative number grow with its size: they are turned over.
    values = values.detach().float()
    bits = (values[~values.isnan()].contiguous() + 0.0).view(torch.int32).to(torch.int64)
    return torch.where(bits < 0, ~bits & 0xFFFFFFFF, bits | 0x80000000)


def _value(key: int) -> float:
    bits = key & 0x7FFFFFFF if key & 0x80000000 else ~key & 0xFFFFFFFF
    return float(torch.tensor([bits - (1 << 32) if bits >= 1 << 31 else bits], dtype=torch.int32).view(torch.float32))


def _histograms(digits: list[Tensor], all_reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Counts of each digit over all ranks, (pools, 65,536), on the CPU."""
    counts = torch.stack([torch.bincount(digit, minlength=_DIGIT) for digit in digits]).float()
    return all_reduce(counts.flatten()).view(len(digits), _DIGIT).cpu().double()


def _place(counts: Tensor, rank: int) -> tuple[int, int]:
    """The digit of the value at `rank` from the top, counted from 1, and its rank among the values of that digit."""
    above = counts.flip(0).cumsum(0)
    index = int((above < rank).sum())
    index = min(index, _DIGIT - 1)
    before = float(above[index - 1]) if index else 0.0
    return _DIGIT - 1 - index, rank - int(before)
