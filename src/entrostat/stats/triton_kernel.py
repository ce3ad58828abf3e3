"""Triton kernels for one tile of projections: a program holds one token's row of the tile in registers.

The naive code that they equal is `TorchOps` in `tiles.py`. The product that makes the tile, and those of the backward, stay with
the vendor's library. Importing this module needs Triton.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from entrostat.errors import DataError
from entrostat.stats.gradient import LogitGradient
from entrostat.stats.online import OnlineSoftmax
from entrostat.stats.tiles import Head

_FLOOR = tl.constexpr(-2000.0)


@triton.jit
def _tanh(x):
    # The exponent is never positive, so nothing overflows.
    t = tl.exp(-2 * tl.abs(x))
    return tl.where(x < 0, -1.0, 1.0) * (1 - t) / (1 + t)


@triton.jit
def _logits(tile, row, columns, cap, CAPPED: tl.constexpr, BLOCK: tl.constexpr):
    """A row of logits with -inf beyond its end, and tanh where there is a softcap."""
    offsets = tl.arange(0, BLOCK)
    inside = offsets < columns
    y = tl.load(tile + row * columns + offsets, mask=inside, other=0.0)
    tanh = y
    if CAPPED:
        tanh = _tanh(y)
        y = cap * tanh
    return tl.where(inside, y, -float("inf")), tanh


@triton.jit
def _fold(
    tile, targets, state, tokens, columns, start, cap,
    CAPPED: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    z, _ = _logits(tile, row, columns, cap, CAPPED, BLOCK)
    local = tl.load(targets + row) - start
    at_target = tl.arange(0, BLOCK) == local
    target = tl.where((local >= 0) & (local < columns), tl.sum(tl.where(at_target, z, 0.0), axis=0), -float("inf"))

    # The state is fp64, and so is what is added to it; the row is fp32.
    old = state + row
    old_shift = tl.load(old)
    shift = tl.maximum(tl.max(z, axis=0), old_shift.to(tl.float32))
    # No infinity is subtracted from another where there is no finite logit yet.
    center = tl.where(shift == -float("inf"), 0.0, shift)
    fall = tl.where(old_shift == shift, 0.0, tl.maximum(old_shift - center, _FLOOR))
    decay = tl.exp(fall)
    # A NaN passes through exp() and shows in every sum, though maximum() may drop it.
    e = tl.exp(z - center)
    x = tl.maximum(z - center, _FLOOR)
    # Apart from the likeliest entries, each exactly 1: beside them the rest of a near-certain token has no digits in fp32.
    likeliest = z == center
    count = tl.sum(tl.where(likeliest, 1.0, 0.0), axis=0).to(tl.float64)
    rest = tl.sum(tl.where(likeliest, 0.0, e), axis=0)
    sum_e, sum_ex = tl.load(old + 2 * tokens), tl.load(old + 3 * tokens)
    sum_e2, sum_e2x = tl.load(old + 4 * tokens), tl.load(old + 5 * tokens)
    tl.store(old, shift)
    tl.store(old + tokens, tl.maximum(tl.load(old + tokens), target))
    tl.store(old + 2 * tokens, decay * sum_e + count + rest)
    if FIRST:
        tl.store(old + 3 * tokens, decay * (sum_ex + fall * sum_e) + tl.sum(e * x, axis=0))
    if SECOND:
        tl.store(old + 4 * tokens, decay * decay * sum_e2 + tl.sum(e * e, axis=0))
        tl.store(old + 5 * tokens, decay * decay * (sum_e2x + fall * sum_e2) + tl.sum(e * e * x, axis=0))


@triton.jit
def _gradient(
    out, tile, targets, shift, slope, level, more, columns, start, cap,
    CAPPED: tl.constexpr, TARGET: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK)
    z, tanh = _logits(tile, row, columns, cap, CAPPED, BLOCK)
    # exp() gives 0 beyond the end and where a logit is -inf; the floor keeps it from meeting an infinity.
    y = z - tl.load(shift + row)
    a, b = tl.load(slope + row), tl.load(level + row)
    gradient = tl.exp(y) * (a * tl.maximum(y, _FLOOR) + b)
    if TARGET:
        gradient = tl.where(offsets == tl.load(targets + row) - start, tl.load(more + row), gradient)
    # No gradient arrives: zeros, whatever the logits hold.
    gradient = tl.where((a == 0) & (b == 0), 0.0, gradient)
    if CAPPED:
        gradient *= 1 - tanh * tanh
    tl.store(out + row * columns + offsets, gradient, mask=offsets < columns)


class TritonOps:
    """The tile operations on CUDA, or on the CPU under Triton's interpreter.

    The kernels count rows and columns themselves, so everything that they read is contiguous, or made so.
    """

    leaves_out_idle: ClassVar[bool] = False

    def fold(self, softmax: OnlineSoftmax, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head) -> None:
        tokens, columns = tile_NV.shape
        if tokens == 0:
            return
        tile, targets = tile_NV.contiguous(), targets_N.contiguous()
        with torch.cuda.device_of(tile_NV):
            _fold[(tokens,)](
                tile, targets, _written(softmax.state), tokens, columns, start, head.cap or 1.0,
                CAPPED=head.cap is not None, FIRST=softmax.first, SECOND=softmax.second, **_block(columns),
            )  # fmt: skip

    def gradient(
        self, out_NV: Tensor, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head, rule: LogitGradient
    ) -> Tensor:
        tokens, columns = tile_NV.shape
        if tokens == 0:
            return out_NV
        tile, targets, shift, level = (value.contiguous() for value in (tile_NV, targets_N, rule.shift_N, rule.level_N))
        slope = torch.zeros_like(level) if rule.slope_N is None else rule.slope_N.contiguous()
        more = level if rule.target_N is None else rule.target_N.contiguous()
        with torch.cuda.device_of(tile_NV):
            _gradient[(tokens,)](
                _written(out_NV), tile, targets, shift, slope, level, more, columns, start, head.cap or 1.0,
                CAPPED=head.cap is not None, TARGET=rule.target_N is not None, **_block(columns),
            )  # fmt: skip
        return out_NV


def _written(out: Tensor) -> Tensor:
    """What a kernel writes into, which a contiguous copy cannot stand in for."""
    if not out.is_contiguous():
        raise DataError(f"a kernel can write into contiguous tensors only, got strides {out.stride()}")
    return out


def _block(columns: int) -> dict[str, Any]:
    """A row's registers and warps. Fused multiply-adds are asked for, since Triton's own choice changes with its version."""
    block = triton.next_power_of_2(columns)
    return {"BLOCK": block, "num_warps": min(max(block // 512, 1), 16), "enable_fp_fusion": True}
