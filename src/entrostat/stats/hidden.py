"""Statistics from hidden states and the head's weight, without ever building the (B, T, V) logits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from entrostat.control.numbers import as_float, number
from entrostat.errors import ConfigError, DataError
from entrostat.stats import triton_ops
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
from entrostat.stats.online import normalizer_and_logp, stats_of
from entrostat.stats.reference import reference_stats
from entrostat.stats.tiles import Head, Kept, TileOps, Tiling, TorchOps
from entrostat.stats.truncated import in_chunks
from entrostat.types import STATISTICS, Statistic, TokenStats, Want
from entrostat.types.checks import check_mask, check_one_device, check_tensors

Implementation = Literal["auto", "torch", "triton", "reference"]
IMPLEMENTATIONS = ("auto", "torch", "triton", "reference")

# Tokens and vocabulary entries of a tile. On the CPU 8 MB of fp32, large enough for the matrix product to run at full
# speed; on an accelerator 64 MB, to fill it.
_CPU_TILE = (1024, 2048)
_DEVICE_TILE = (4096, 4096)


def token_stats_from_hidden(
    hidden_BTd: Tensor,
    weight_Vd: Tensor,
    targets_BT: Tensor,
    want: Iterable[Want] = DEFAULT_WANT,
    temperature: float = 1.0,
    bias_V: Tensor | None = None,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    mask_BT: Tensor | None = None,
    tile_tokens: int | None = None,
    tile_vocabulary: int | None = None,
    implementation: Implementation = "auto",
    kept_mb: float = 80.0,
) -> TokenStats:
    """The statistics of `token_stats`, from what goes into the language-model head.

    Equals, with softcap left out where it is None:

        z = logit_scale * (hidden @ weight.T + bias);  z = softcap * tanh(z / softcap)
        token_stats(z, targets, want, temperature)

    One pass over tiles of logits; the backward recomputes them, but for the few that are kept, for the tokens that a gradient
    arrives at.

    Args:
        hidden_BTd: last hidden states, (B, T, d) or any leading shape.
        weight_Vd: weight of the head, (V, d); may be the tied embedding.
        targets_BT: the sampled token ids, the leading shape.
        want: of `types.STATISTICS`; nothing else is computed.
        temperature: what the logits are divided by; the sampling temperature.
        bias_V: bias of the head, (V,).
        logit_scale: factor on the projection (Cohere, Granite); softcap: bound on it (Gemma 2).
        mask_BT: tokens to compute; the others cost nothing, read 0 and may have any target.
        tile_tokens, tile_vocabulary: size of a tile; by default what suits the device.
        implementation: "auto" is "triton" on CUDA where Triton can be imported, otherwise "torch"; "reference" builds the
            logits, and is there to check the others against.
        kept_mb: logits that the forward may keep for the backward [MB], where one comes; 0 recomputes them all.

    Returns:
        TokenStats in nats, fp32 (fp64 for fp64 hidden states). bf16 and fp16 factors are multiplied into fp32 logits, which
        are never rounded to bf16; under autocast the factors are rounded to its dtype. `logp` and `entropy` carry a
        first-order gradient, summed in fp32, to hidden_BTd, weight_Vd and bias_V; the others have none. A logit of -inf (from
        the bias) is probability 0 and is safe; a NaN, or a row with no finite logit, gives NaN.

    Raises:
        ConfigError: an unknown statistic or implementation, one that cannot run here, a temperature, softcap or tile size
            that is not above zero.
        DataError: what is no tensor, a DTensor, tensors on several devices, shapes that do not fit, token ids outside
            the vocabulary (on CUDA the device's assertion).

    Source: docs/theory.md; discriminator and baseline from 2602.03392, Eqs. 5 to 8.
    """
    wanted, more = check_want(want)
    head = Head(weight_Vd, bias_V, *_head_numbers(temperature, logit_scale, softcap))
    _check_tensors(hidden_BTd, weight_Vd, bias_V, targets_BT, mask_BT)
    tiling = _tiling(hidden_BTd, tile_tokens, tile_vocabulary, kept_mb)
    ops = _choose(implementation, hidden_BTd)

    shape, width = hidden_BTd.shape[:-1], hidden_BTd.shape[-1]
    hidden_Nd, targets_N = hidden_BTd.reshape(shape.numel(), width), token_ids(targets_BT, shape).reshape(-1)
    rows = None if mask_BT is None else mask_BT.reshape(-1).nonzero().squeeze(1)
    if rows is not None:
        hidden_Nd, targets_N = hidden_Nd[rows], targets_N[rows]
    check_in_vocabulary(targets_N, len(weight_Vd))

    def placed(value: Tensor) -> Tensor:
        if rows is not None:
            value = value.new_zeros(shape.numel(), *value.shape[1:]).index_copy(0, rows, value)
        return value.reshape((*shape, *value.shape[1:]))

    values = _computed(hidden_Nd, head, targets_N, wanted, tiling, ops)
    named: dict[str, Any] = {n: placed(value) for n, value in zip(STATISTICS, values, strict=True) if value is not None}
    extra: dict[Statistic, Tensor] = {}
    if more:
        extra = in_chunks(lambda part: _logits(hidden_Nd[part], head, tiling), targets_N, more, head.temperature)
    return TokenStats(**named, extra={name: placed(value) for name, value in extra.items()})


def _head_numbers(temperature: float, scale: float, softcap: float | None) -> tuple[float, float, float | None]:
    """The numbers of a `Head`, or `ConfigError`."""
    if softcap is not None and ((cap := as_float(softcap)) is None or not cap > 0):
        raise ConfigError(f"softcap must be above zero, or None, got {softcap!r}")
    scale = number("logit_scale", scale)
    return check_temperature(temperature), scale, softcap


def _check_tensors(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, mask: Tensor | None) -> None:
    """Refuse what is no tensor or does not fit the others; the targets' shape and values are `token_ids`'."""
    factors = {"hidden": hidden, "weight": weight} | ({} if bias is None else {"bias": bias})
    given = factors | {"targets": targets} | ({} if mask is None else {"mask": mask})
    check_tensors(**given)
    for name, value in factors.items():
        if not value.is_floating_point():
            raise DataError(f"{name} must be a floating tensor, got {value.dtype}")
    shape, width = hidden.shape[:-1], hidden.shape[-1]
    if weight.dim() != 2 or weight.shape[1] != width:
        raise DataError(f"weight must have shape (V, {width}), got {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise DataError(f"bias must have shape ({weight.shape[0]},), got {tuple(bias.shape)}")
    if mask is not None and mask.shape != shape:
        raise DataError(f"mask must have shape {tuple(shape)}, got {tuple(mask.shape)}")
    check_whole(**given)
    check_one_device(**given)
    if mask is not None:
        check_mask("mask", mask)


def _computed(
    hidden_Nd: Tensor, head: Head, targets_N: Tensor, want: frozenset[str], tiling: Tiling, ops: TileOps | None
) -> Sequence[Tensor | None]:
    """The values of `STATISTICS`, None for those that are not wanted."""
    if ops is None:
        return _reference(hidden_Nd, head, targets_N, want, tiling)
    # Inductor rounds what addmm(..., out_dtype=...) gives to its factors' dtype (pytorch #163880): left out of its graphs.
    apply = torch.compiler.disable(_HiddenStats.apply) if torch.compiler.is_compiling() else _HiddenStats.apply
    return apply(hidden_Nd, head.weight_Vd, head.bias_V, targets_N, want, head, tiling, ops)


def _tiling(hidden: Tensor, tokens: int | None, vocabulary: int | None, kept_mb: float) -> Tiling:
    usual = _CPU_TILE if hidden.device.type == "cpu" else _DEVICE_TILE
    tokens, vocabulary = usual[0] if tokens is None else tokens, usual[1] if vocabulary is None else vocabulary
    check_size("tile_tokens", tokens)
    check_size("tile_vocabulary", vocabulary)
    if (kept := as_float(kept_mb)) is None or not 0 <= kept < math.inf:
        raise ConfigError(f"kept_mb must be a finite number, zero or above, got {kept_mb!r}")
    device = hidden.device.type
    # Under autocast the product's factors are rounded as the model's own head would round them.
    compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    keep = int(kept * 1e6) if torch.is_grad_enabled() else 0
    return Tiling(tokens, vocabulary, working_dtype(hidden.dtype), compute, keep)


def _choose(name: str, hidden: Tensor) -> TileOps | None:
    """The implementation by name; None is the reference."""
    if name not in IMPLEMENTATIONS:
        raise ConfigError(f"unknown implementation {name!r}: choose from {list(IMPLEMENTATIONS)}")
    if name == "triton" and (why := triton_ops.cannot_run(hidden)):
        raise ConfigError(f"implementation 'triton' cannot run here: {why}. Use 'auto' or 'torch'")
    if name == "triton" or (name == "auto" and hidden.is_cuda and not triton_ops.cannot_run(hidden)):
        return triton_ops.load()
    return None if name == "reference" else TorchOps()


def _reference(
    hidden_Nd: Tensor, head: Head, targets_N: Tensor, want: frozenset[str], tiling: Tiling
) -> list[Tensor | None]:
    """The docstring's two lines, written down."""
    with torch.autocast(hidden_Nd.device.type, enabled=False):
        stats = reference_stats(_logits(hidden_Nd, head, tiling), targets_N, head.temperature)
    return [stats.need(name) if name in want else None for name in STATISTICS]


def _logits(hidden_Nd: Tensor, head: Head, tiling: Tiling) -> Tensor:
    """The logits before the temperature, (N, V)."""
    with torch.autocast(hidden_Nd.device.type, enabled=False):
        factors = [factor.to(tiling.compute).to(tiling.dtype) for factor in (hidden_Nd, head.weight_Vd)]
        logits = factors[0] @ factors[1].t()
        if head.bias_V is not None:
            logits = logits + head.bias_V.to(tiling.dtype)
        logits = head.scale * logits
        return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)


class _HiddenStats(torch.autograd.Function):
    """Forward and backward over tiles."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_Nd: Tensor,
        weight_Vd: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        want: frozenset[str],
        head: Head,
        tiling: Tiling,
        ops: TileOps,
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        with torch.autocast(hidden_Nd.device.type, enabled=False):
            kept = tiling.room(head, hidden_Nd) if any(ctx.needs_input_grad[:3]) and want & {"logp", "entropy"} else ()
            state = tiling.sums(ops, head, hidden_Nd, targets_N, want, kept)
        stats = stats_of(state, want, tiling.dtype)
        ctx.save_for_backward(
            hidden_Nd, weight_Vd, bias_V, targets_N, *normalizer_and_logp(state), stats.entropy, *kept
        )
        ctx.head, ctx.tiling, ctx.ops = (head.temperature, head.scale, head.softcap), tiling, ops
        ctx.mark_non_differentiable(*(v for v in (stats.baseline, stats.collision) if v is not None))
        return tuple(getattr(stats, name) for name in STATISTICS)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logp: Tensor | None, grad_entropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
        hidden, weight, bias, targets, log_normalizer, logp, entropy, *kept = ctx.saved_tensors
        nothing = (None,) * 8
        if grad_logp is None and grad_entropy is None:
            return nothing
        temperature, scale, _ = ctx.head
        factor = scale / temperature
        rule = LogitGradient.of(log_normalizer, logp, entropy, grad_logp, grad_entropy, ctx.tiling.dtype, factor)
        rows: slice | Tensor = slice(None)
        arrives = active(grad_logp, grad_entropy)
        # Tokens that no gradient arrives at are left out where no device must be waited for; otherwise they are zeros.
        if not ctx.ops.leaves_out_idle:
            hidden = hidden.masked_fill(~arrives[:, None], 0)
        elif not arrives.all():
            rows = arrives.nonzero().squeeze(1)
        with torch.autocast(hidden.device.type, enabled=False):
            grad_hidden, grad_weight, grad_bias = ctx.tiling.gradients(
                ctx.ops,
                Head(weight, bias, *ctx.head),
                hidden[rows],
                targets[rows],
                rule[rows],
                ctx.needs_input_grad[:3],
                Kept(tuple(kept), rows if isinstance(rows, Tensor) else None),
            )
        if grad_hidden is not None:
            if isinstance(rows, Tensor):
                grad_hidden = torch.zeros_like(hidden, dtype=grad_hidden.dtype).index_copy_(0, rows, grad_hidden)
            grad_hidden = grad_hidden.to(hidden.dtype)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            *nothing[3:],
        )
