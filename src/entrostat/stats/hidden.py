"""Statistics from hidden states and the head's weight, without ever building the (B, T, V) logits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from entrostat.errors import ConfigError, DataError
from entrostat.stats.logits import DEFAULT_WANT, check_size, check_targets, check_temperature, check_want, working_dtype
from entrostat.stats.online import OnlineSoftmax, logit_gradient
from entrostat.types import STATISTICS, TokenStats


@dataclass(frozen=True)
class _Head:
    """How a projection becomes a logit: softcap * tanh(scale * z / softcap) / temperature, and the tile sizes."""

    temperature: float
    scale: float
    softcap: float | None
    tile_tokens: int
    tile_vocabulary: int

    def project(self, hidden_Nd: Tensor, weight_Vd: Tensor, bias_V: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Raw projection of one tile, in the working dtype."""
        tile = torch.mm(hidden_Nd, weight_Vd.to(hidden_Nd.dtype).t()).to(dtype)
        return tile if bias_V is None else tile.add_(bias_V.to(dtype))

    def logits_(self, tile_NV: Tensor) -> Tensor:
        """The projection turned into logits, in place."""
        if self.scale != 1:
            tile_NV.mul_(self.scale)
        if self.softcap is not None:
            tile_NV.div_(self.softcap).tanh_().mul_(self.softcap)
        return tile_NV if self.temperature == 1 else tile_NV.div_(self.temperature)

    def chain_(self, gradient_NV: Tensor, logits_NV: Tensor | None) -> Tensor:
        """A gradient with respect to the logits turned into one with respect to the projection, in place."""
        if self.softcap is not None:
            assert logits_NV is not None
            tanh = logits_NV.mul_(self.temperature / self.softcap)
            gradient_NV.mul_(1 - tanh.square_())
        return gradient_NV.mul_(self.scale / self.temperature)


def token_stats_from_hidden(
    hidden_BTd: Tensor,
    weight_Vd: Tensor,
    targets_BT: Tensor,
    want: Iterable[str] = DEFAULT_WANT,
    temperature: float = 1.0,
    bias_V: Tensor | None = None,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    mask_BT: Tensor | None = None,
    tile_tokens: int = 256,
    tile_vocabulary: int = 4096,
) -> TokenStats:
    """The statistics of `token_stats`, from what goes into the language-model head.

    Equals, with softcap left out where it is None:

        z = logit_scale * (hidden @ weight.T + bias);  z = softcap * tanh(z / softcap)
        token_stats(z, targets, want, temperature)

    One pass over tiles of tile_tokens x tile_vocabulary logits; the backward recomputes each tile.

    Args:
        hidden_BTd: last hidden states, (B, T, d) or any leading shape.
        weight_Vd: weight of the head, (V, d); may be the tied embedding.
        targets_BT: the sampled token ids, the leading shape.
        want: of "logp", "entropy", "baseline", "collision"; nothing else is computed.
        temperature: what the logits are divided by; the sampling temperature.
        bias_V: bias of the head, (V,).
        logit_scale: factor on the projection (Cohere, Granite); softcap: bound on it (Gemma 2).
        mask_BT: tokens to compute; the others cost nothing and read 0.

    Returns:
        TokenStats in nats, fp32 (fp64 for fp64 hidden states). `logp` and `entropy` carry a first-order gradient to
        hidden_BTd, weight_Vd and bias_V; the others have none.

    Raises:
        ConfigError: an unknown statistic, a temperature or a softcap that is not above zero.
        DataError: shapes that do not fit, token ids outside the vocabulary.
    """
    wanted = check_want(want)
    if softcap is not None and not softcap > 0:
        raise ConfigError(f"softcap must be above zero, or None, got {softcap!r}")
    check_size("tile_tokens", tile_tokens)
    check_size("tile_vocabulary", tile_vocabulary)
    head = _Head(check_temperature(temperature), float(logit_scale), softcap, tile_tokens, tile_vocabulary)
    shape, width = hidden_BTd.shape[:-1], hidden_BTd.shape[-1]
    if weight_Vd.dim() != 2 or weight_Vd.shape[1] != width:
        raise DataError(f"weight must have shape (V, {width}), got {tuple(weight_Vd.shape)}")
    if bias_V is not None and bias_V.shape != weight_Vd.shape[:1]:
        raise DataError(f"bias must have shape ({weight_Vd.shape[0]},), got {tuple(bias_V.shape)}")
    check_targets(targets_BT, shape, weight_Vd.shape[0])
    hidden_Nd, targets_N = hidden_BTd.reshape(-1, width), targets_BT.reshape(-1)
    if mask_BT is None:
        values = _HiddenStats.apply(hidden_Nd, weight_Vd, bias_V, targets_N, wanted, head)
        return TokenStats(**{n: None if v is None else v.view(shape) for n, v in zip(STATISTICS, values, strict=True)})
    if mask_BT.shape != shape:
        raise DataError(f"mask must have shape {tuple(shape)}, got {tuple(mask_BT.shape)}")
    rows = mask_BT.reshape(-1).nonzero().squeeze(1)
    values = _HiddenStats.apply(hidden_Nd[rows], weight_Vd, bias_V, targets_N[rows], wanted, head)
    return TokenStats(
        **{
            n: None if v is None else v.new_zeros(len(hidden_Nd)).index_copy(0, rows, v).view(shape)
            for n, v in zip(STATISTICS, values, strict=True)
        }
    )


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
        head: _Head,
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        dtype = working_dtype(hidden_Nd.dtype)
        device = hidden_Nd.device.type
        # Under autocast the product runs in the autocast dtype, as the model's own head would.
        compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_Nd.dtype
        parts, normalisers = [], []
        with torch.autocast(device, enabled=False):
            for first in range(0, max(len(hidden_Nd), 1), head.tile_tokens):
                hidden = hidden_Nd[first : first + head.tile_tokens].to(compute)
                targets = targets_N[first : first + head.tile_tokens]
                softmax = OnlineSoftmax(len(hidden), want, dtype, hidden.device)
                for start in range(0, len(weight_Vd), head.tile_vocabulary):
                    columns = slice(start, start + head.tile_vocabulary)
                    tile = head.project(hidden, weight_Vd[columns], None if bias_V is None else bias_V[columns], dtype)
                    softmax.fold(head.logits_(tile), targets, start)
                parts.append(softmax.stats(want))
                normalisers.append(softmax.log_normaliser())
        values = {n: torch.cat([getattr(part, n) for part in parts]) if n in want else None for n in STATISTICS}
        log_normaliser = torch.cat(normalisers)
        entropy = values["entropy"]
        ctx.save_for_backward(
            hidden_Nd, weight_Vd, bias_V, targets_N, log_normaliser, log_normaliser if entropy is None else entropy
        )
        ctx.head, ctx.compute = head, compute
        ctx.mark_non_differentiable(*(v for n in ("baseline", "collision") if (v := values[n]) is not None))
        return tuple(values[n] for n in STATISTICS)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logp: Tensor | None, grad_entropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
        hidden_Nd, weight_Vd, bias_V, targets_N, log_normaliser, entropy = ctx.saved_tensors
        head: _Head = ctx.head
        if grad_logp is None and grad_entropy is None:
            return (None,) * 6
        dtype = log_normaliser.dtype
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        # Sums over tiles are kept in the working dtype: rounding each to bf16 would bias the gradient.
        grad_hidden = torch.zeros_like(hidden_Nd, dtype=dtype) if need_hidden else None
        grad_weight = torch.zeros_like(weight_Vd, dtype=dtype) if need_weight else None
        grad_bias = torch.zeros_like(bias_V, dtype=dtype) if need_bias else None
        for first in range(0, len(hidden_Nd), head.tile_tokens):
            rows = slice(first, first + head.tile_tokens)
            hidden = hidden_Nd[rows].to(ctx.compute)
            for start in range(0, len(weight_Vd), head.tile_vocabulary):
                columns = slice(start, start + head.tile_vocabulary)
                weight = weight_Vd[columns]
                tile = head.project(hidden, weight, None if bias_V is None else bias_V[columns], dtype)
                tile = head.logits_(tile)
                logits = tile.clone() if head.softcap is not None else None
                gradient = logit_gradient(
                    tile,
                    targets_N[rows],
                    start,
                    log_normaliser[rows],
                    entropy[rows],
                    None if grad_logp is None else grad_logp[rows],
                    None if grad_entropy is None else grad_entropy[rows],
                )
                gradient = head.chain_(gradient, logits)
                if grad_hidden is not None:
                    grad_hidden[rows].addmm_(gradient, weight.to(dtype))
                if grad_weight is not None:
                    grad_weight[columns].addmm_(gradient.t(), hidden.to(dtype))
                if grad_bias is not None:
                    grad_bias[columns] += gradient.sum(0)
        return (
            None if grad_hidden is None else grad_hidden.to(hidden_Nd.dtype),
            None if grad_weight is None else grad_weight.to(weight_Vd.dtype),
            None if grad_bias is None else grad_bias.to(bias_V.dtype),
            None,
            None,
            None,
        )
