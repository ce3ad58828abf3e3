"""Statistics from logits that are already there, a chunk of tokens at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from entrostat.errors import ConfigError, DataError
from entrostat.stats.gradient import LogitGradient
from entrostat.stats.online import OnlineSoftmax
from entrostat.types import STATISTICS, TokenStats

DEFAULT_WANT = ("logp", "entropy")


def check_want(want: Iterable[str]) -> frozenset[str]:
    """The wanted statistics as a set, or `ConfigError` for a name that is none."""
    names = frozenset({want} if isinstance(want, str) else want)
    if unknown := names - set(STATISTICS):
        raise ConfigError(f"unknown statistics {sorted(unknown)}: choose from {list(STATISTICS)}")
    return names


def check_temperature(temperature: float) -> float:
    """The temperature as a finite float above zero, or `ConfigError`."""
    if not 0 < temperature < math.inf:
        raise ConfigError(f"temperature must be a finite number above zero, got {temperature!r}")
    return float(temperature)


def check_size(name: str, size: int) -> None:
    """Refuse a chunk or tile of less than one entry: a loop in steps of it would fail, or see nothing."""
    if size < 1:
        raise ConfigError(f"{name} must be at least 1, got {size!r}")


def check_targets(targets: Tensor, shape: torch.Size, vocabulary: int) -> None:
    """Refuse targets of another shape, and token ids that the vocabulary does not hold."""
    if targets.shape != shape:
        raise DataError(f"targets must have shape {tuple(shape)}, got {tuple(targets.shape)}")
    if targets.is_floating_point():
        raise DataError(f"targets must be token ids of an integer dtype, got {targets.dtype}")
    # Looking at the values would make a device wait, so only the CPU, where it is free, is checked.
    if targets.device.type == "cpu" and targets.numel():
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= vocabulary:
            raise DataError(f"targets must lie in [0, {vocabulary}), got values from {low} to {high}")


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """fp64 stays fp64, everything else is computed in fp32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def token_stats(
    logits_BTV: Tensor,
    targets_BT: Tensor,
    want: Iterable[str] = DEFAULT_WANT,
    temperature: float = 1.0,
    chunk_tokens: int = 256,
) -> TokenStats:
    """Exact statistics of the next-token distributions, and of the tokens sampled from them.

    Equals `reference_stats(logits.float(), targets, temperature)`:

        logp_V = log_softmax(logits / temperature);  p = exp(logp_V);  H = -sum p logp_V
        logp = logp_V[targets];  baseline = sum p^2 (H + logp_V);  collision = sum p^2

    Args:
        logits_BTV: (B, T, V), or any leading shape; any floating dtype.
        targets_BT: the sampled token ids, the leading shape.
        want: of "logp", "entropy", "baseline", "collision", "top1"; nothing else is computed.
        temperature: what the logits are divided by; the sampling temperature.
        chunk_tokens: tokens worked on at once; bounds the extra memory to chunk_tokens x V numbers.

    Returns:
        TokenStats in nats, fp32 (fp64 for fp64 logits), whatever the logits' dtype. `logp` and `entropy` carry a
        first-order gradient to the logits; the others have none. A logit of -inf is probability 0 and is safe;
        a NaN, or a row with no finite logit, gives NaN.

    Raises:
        ConfigError: an unknown statistic, a temperature that is not finite and above zero, an empty chunk.
        DataError: shapes that do not fit, token ids outside the vocabulary.

    Source: docs/theory.md; discriminator and baseline from 2602.03392, Eqs. 5 to 8.
    """
    wanted = check_want(want)
    temperature = check_temperature(temperature)
    check_size("chunk_tokens", chunk_tokens)
    if logits_BTV.dim() < 1 or not logits_BTV.is_floating_point():
        raise DataError(f"logits must be a floating tensor (..., V), got {logits_BTV.dtype} {tuple(logits_BTV.shape)}")
    shape, vocabulary = logits_BTV.shape[:-1], logits_BTV.shape[-1]
    check_targets(targets_BT, shape, vocabulary)
    values = _LogitStats.apply(
        logits_BTV.reshape(-1, vocabulary), targets_BT.reshape(-1), wanted, temperature, chunk_tokens
    )
    found: dict[str, Any] = {n: None if v is None else v.view(shape) for n, v in zip(STATISTICS, values, strict=True)}
    return TokenStats(**found)


class _LogitStats(torch.autograd.Function):
    """Forward and backward over chunks of tokens; the backward recomputes the softmax instead of keeping it."""

    @staticmethod
    def forward(
        ctx: Any, logits_NV: Tensor, targets_N: Tensor, want: frozenset[str], temperature: float, chunk: int
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        dtype = working_dtype(logits_NV.dtype)
        parts, normalisers = [], []
        for rows in range(0, max(len(logits_NV), 1), chunk):
            tile = logits_NV[rows : rows + chunk].to(dtype)
            tile = tile if temperature == 1 else tile / temperature
            softmax = OnlineSoftmax(len(tile), want, dtype, tile.device)
            softmax.fold(tile, targets_N[rows : rows + chunk], 0)
            parts.append(softmax.stats(want))
            normalisers.append(softmax.log_normaliser())
        values = {n: torch.cat([getattr(part, n) for part in parts]) if n in want else None for n in STATISTICS}
        log_normaliser = torch.cat(normalisers)
        entropy = values["entropy"]
        ctx.save_for_backward(logits_NV, targets_N, log_normaliser, log_normaliser if entropy is None else entropy)
        ctx.temperature, ctx.chunk = temperature, chunk
        ctx.mark_non_differentiable(*(v for n in ("baseline", "collision", "top1") if (v := values[n]) is not None))
        return tuple(values[n] for n in STATISTICS)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logp: Tensor | None, grad_entropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
        logits_NV, targets_N, log_normaliser, entropy = ctx.saved_tensors
        if grad_logp is None and grad_entropy is None:
            return None, None, None, None, None
        rule = LogitGradient.of(log_normaliser, entropy, grad_logp, grad_entropy, 1 / ctx.temperature)
        grad_NV = torch.empty_like(logits_NV)
        for first in range(0, len(logits_NV), ctx.chunk):
            rows = slice(first, first + ctx.chunk)
            tile = logits_NV[rows].to(log_normaliser.dtype, copy=True).div_(ctx.temperature)
            gradient = rule[rows].write(tile, tile, targets_N[rows], 0)
            grad_NV[rows] = gradient.to(logits_NV.dtype)
        return grad_NV, None, None, None, None
