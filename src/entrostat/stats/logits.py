"""Statistics from logits that are already there, a chunk of tokens at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from entrostat.errors import DataError
from entrostat.stats.arguments import (
    DEFAULT_WANT,
    check_in_vocabulary,
    check_size,
    check_temperature,
    check_want,
    check_whole,
    token_ids,
    working_dtype,
)
from entrostat.stats.gradient import LogitGradient, active
from entrostat.stats.online import OnlineSoftmax, normalizer_and_logp, stats_of
from entrostat.stats.truncated import in_chunks
from entrostat.types import STATISTICS, TokenStats, Want
from entrostat.types.checks import check_one_device, check_tensors


def token_stats(
    logits_BTV: Tensor,
    targets_BT: Tensor,
    want: Iterable[Want] = DEFAULT_WANT,
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
        want: of "logp", "entropy", "baseline", "collision", and those with a parameter (`types.Statistic`); nothing else is
            computed.
        temperature: what the logits are divided by; the sampling temperature.
        chunk_tokens: tokens worked on at once; bounds the extra memory to chunk_tokens x V numbers.

    Returns:
        TokenStats in nats, fp32 (fp64 for fp64 logits), whatever the logits' dtype. `logp` and `entropy` carry a
        first-order gradient to the logits; the others have none. A logit of -inf is probability 0 and is safe;
        a NaN, or a row with no finite logit, gives NaN. A token that no gradient arrives at gets zeros, whatever its
        logits hold.

    Raises:
        ConfigError: an unknown statistic, a temperature that is not finite and above zero, an empty chunk.
        DataError: what is no tensor, a DTensor, tensors on several devices, shapes that do not fit, token ids outside
            the vocabulary (on CUDA the device's assertion).

    Source: docs/theory.md; discriminator and baseline from 2602.03392, Eqs. 5 to 8.
    """
    wanted, more = check_want(want)
    temperature = check_temperature(temperature)
    check_size("chunk_tokens", chunk_tokens)
    check_tensors(logits=logits_BTV, targets=targets_BT)
    if logits_BTV.dim() < 1 or not logits_BTV.is_floating_point():
        raise DataError(f"logits must be a floating tensor (..., V), got {logits_BTV.dtype} {tuple(logits_BTV.shape)}")
    shape, vocabulary = logits_BTV.shape[:-1], logits_BTV.shape[-1]
    check_whole(logits=logits_BTV, targets=targets_BT)
    check_one_device(logits=logits_BTV, targets=targets_BT)
    targets_N = token_ids(targets_BT, shape).reshape(-1)
    check_in_vocabulary(targets_N, vocabulary)
    logits_NV = logits_BTV.reshape(-1, vocabulary)
    values = _LogitStats.apply(logits_NV, targets_N, wanted, temperature, chunk_tokens)
    extra = in_chunks(lambda rows: logits_NV[rows], targets_N, more, temperature, chunk_tokens) if more else {}
    named: dict[str, Any] = {n: v.view(shape) for n, v in zip(STATISTICS, values, strict=True) if v is not None}
    return TokenStats(**named, extra={name: value.view(*shape, *value.shape[1:]) for name, value in extra.items()})


class _LogitStats(torch.autograd.Function):
    """Forward and backward over chunks of tokens; the backward recomputes the softmax instead of keeping it."""

    @staticmethod
    def forward(
        ctx: Any, logits_NV: Tensor, targets_N: Tensor, want: frozenset[str], temperature: float, chunk: int
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        dtype = working_dtype(logits_NV.dtype)
        states = []
        for first in range(0, max(len(logits_NV), 1), chunk):
            rows = slice(first, first + chunk)
            tile = logits_NV[rows].to(dtype)
            tile = tile if temperature == 1 else tile / temperature
            softmax = OnlineSoftmax(len(tile), want, dtype, tile.device)
            softmax.fold(tile, targets_N[rows], 0)
            states.append(softmax.state)
        state = torch.cat(states, 1)
        stats = stats_of(state, want, dtype)
        ctx.save_for_backward(logits_NV, targets_N, *normalizer_and_logp(state), stats.entropy)
        ctx.temperature, ctx.chunk = temperature, chunk
        ctx.mark_non_differentiable(*(v for v in (stats.baseline, stats.collision) if v is not None))
        return tuple(getattr(stats, name) for name in STATISTICS)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logp: Tensor | None, grad_entropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
        logits_NV, targets_N, log_normalizer, logp, entropy = ctx.saved_tensors
        if grad_logp is None and grad_entropy is None:
            return None, None, None, None, None
        dtype = working_dtype(logits_NV.dtype)
        rule = LogitGradient.of(log_normalizer, logp, entropy, grad_logp, grad_entropy, dtype, 1 / ctx.temperature)
        grad_NV = torch.zeros_like(logits_NV)
        for rows in active(grad_logp, grad_entropy).nonzero().squeeze(1).split(ctx.chunk):
            tile = logits_NV[rows].to(dtype).div_(ctx.temperature)
            grad_NV[rows] = rule[rows].write(tile, tile, targets_N[rows], 0).to(logits_NV.dtype)
        return grad_NV, None, None, None, None
