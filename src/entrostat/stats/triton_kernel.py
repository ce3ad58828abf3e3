"""Triton kernels for one tile of projections: a program holds one token's row of the tile in registers.

The naive code that they equal is `TorchOps` in `tiles.py`. The product that makes the tile, and those of the backward, stay with
the vendor's library. Importing this module needs Triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from entrostat.stats.online import OnlineSoftmax, halves
from entrostat.stats.tiles import Head, Incoming

_FLOOR = tl.constexpr(-2000.0)


@triton.jit
def _tanh(x):
    # The exponent is never positive, so nothing overflows.
    t = tl.exp(-2 * tl.abs(x))
    return tl.where(x < 0, -1.0, 1.0) * (1 - t) / (1 + t)


@triton.jit
def _logits(tile, row, columns, scale, softcap, temperature, SOFTCAP: tl.constexpr, BLOCK: tl.constexpr):
    """A row of logits with -inf beyond its end, and tanh where there is a softcap."""
    offsets = tl.arange(0, BLOCK)
    inside = offsets < columns
    y = tl.load(tile + row * columns + offsets, mask=inside, other=0.0) * scale
    tanh = y
    if SOFTCAP:
        tanh = _tanh(y / softcap)
        y = softcap * tanh
    return tl.where(inside, y / temperature, -float("inf")), tanh


@triton.jit
def _fold(
    tile, targets, state, tokens, columns, start, scale, softcap, temperature,
    SOFTCAP: tl.constexpr, FIRST: tl.constexpr, SECOND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    z, _ = _logits(tile, row, columns, scale, softcap, temperature, SOFTCAP, BLOCK)
    local = tl.load(targets + row) - start
    at_target = tl.arange(0, BLOCK) == local
    target = tl.where((local >= 0) & (local < columns), tl.sum(tl.where(at_target, z, 0.0), axis=0), -float("inf"))

    # The state is fp64, and so is what is added to it; the row is fp32.
    old = state + row
    old_shift = tl.load(old)
    shift = tl.maximum(tl.max(z, axis=0), old_shift.to(tl.float32))
    # No infinity is subtracted from another where there is no finite logit yet.
    centre = tl.where(shift == -float("inf"), 0.0, shift)
    fall = tl.where(old_shift == shift, 0.0, tl.maximum(old_shift - centre, _FLOOR))
    decay = tl.exp(fall)
    # A NaN passes through exp() and shows in every sum, though maximum() may drop it.
    e = tl.exp(z - centre)
    x = tl.maximum(z - centre, _FLOOR)
    sum_e, sum_ex = tl.load(old + 2 * tokens), tl.load(old + 3 * tokens)
    sum_e2, sum_e2x = tl.load(old + 4 * tokens), tl.load(old + 5 * tokens)
    tl.store(old, shift)
    tl.store(old + tokens, tl.maximum(tl.load(old + tokens), target))
    tl.store(old + 2 * tokens, decay * sum_e + tl.sum(e, axis=0))
    if FIRST:
        tl.store(old + 3 * tokens, decay * (sum_ex + fall * sum_e) + tl.sum(e * x, axis=0))
    if SECOND:
        tl.store(old + 4 * tokens, decay * decay * sum_e2 + tl.sum(e * e, axis=0))
        tl.store(old + 5 * tokens, decay * decay * (sum_e2x + fall * sum_e2) + tl.sum(e * e * x, axis=0))


@triton.jit
def _gradient(
    tile, targets, high, low, slope, level, grad_logp, columns, start, scale, softcap, temperature,
    SOFTCAP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    offsets = tl.arange(0, BLOCK)
    z, tanh = _logits(tile, row, columns, scale, softcap, temperature, SOFTCAP, BLOCK)
    logp = z - tl.load(high + row) - tl.load(low + row)
    p = tl.exp(logp)
    gradient = p * (tl.load(slope + row) * tl.maximum(logp, _FLOOR) + tl.load(level + row))
    at_target = offsets == tl.load(targets + row) - start
    gradient += tl.where(at_target, tl.load(grad_logp + row), 0.0)
    if SOFTCAP:
        gradient *= 1 - tanh * tanh
    tl.store(tile + row * columns + offsets, gradient * (scale / temperature), mask=offsets < columns)


class TritonOps:
    """The tile operations on CUDA, or on the CPU under Triton's interpreter."""

    def fold(self, softmax: OnlineSoftmax, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head) -> None:
        tokens, columns = tile_NV.shape
        if tokens == 0:
            return
        with torch.cuda.device_of(tile_NV):
            _fold[(tokens,)](
                tile_NV, targets_N, softmax.state, tokens, columns, start, *_constants(head),
                SOFTCAP=head.softcap is not None, FIRST=softmax.first, SECOND=softmax.second, **_block(columns),
            )  # fmt: skip

    def gradient(self, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head, incoming: Incoming) -> Tensor:
        tokens, columns = tile_NV.shape
        if tokens == 0:
            return tile_NV
        zeros = torch.zeros_like(incoming.entropy_N)
        grad_logp = zeros if incoming.grad_logp_N is None else incoming.grad_logp_N.contiguous()
        slope = zeros if incoming.grad_entropy_N is None else -incoming.grad_entropy_N
        level = slope * incoming.entropy_N - grad_logp
        with torch.cuda.device_of(tile_NV):
            _gradient[(tokens,)](
                tile_NV, targets_N, *halves(incoming.log_normaliser_N, tile_NV.dtype), slope, level, grad_logp,
                columns, start, *_constants(head),
                SOFTCAP=head.softcap is not None, **_block(columns),
            )  # fmt: skip
        return tile_NV


def _constants(head: Head) -> tuple[float, float, float]:
    return head.scale, head.softcap or 1.0, head.temperature


def _block(columns: int) -> dict[str, int]:
    block = triton.next_power_of_2(columns)
    return {"BLOCK": block, "num_warps": min(max(block // 512, 1), 16)}
