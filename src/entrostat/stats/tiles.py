"""The pass over tiles of logits: forward to the sums of an online softmax, backward to the gradients.

A tile is one product of some hidden states with some rows of the head's weight. What is done to it, folding it into the
sums or turning it into its own gradient, is the `TileOps` of an implementation; the loop around it is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from entrostat.stats.online import OnlineSoftmax, logit_gradient

# torch.mm(..., out_dtype=...): half-precision factors, fp32 product.
_OUT_DTYPE = TorchVersion(torch.__version__) >= "2.8"


@dataclass(frozen=True)
class Head:
    """What turns hidden states into logits: softcap * tanh(scale * (h W' + b) / softcap) / temperature."""

    weight_Vd: Tensor
    bias_V: Tensor | None
    temperature: float
    scale: float
    softcap: float | None

    def logits_(self, tile_NV: Tensor) -> Tensor:
        """A tile of projections turned into logits, in place."""
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
        factor = self.scale / self.temperature
        return gradient_NV if factor == 1 else gradient_NV.mul_(factor)


@dataclass(frozen=True)
class Incoming:
    """What the backward knows of some tokens: the normaliser and entropy of each, and the gradients that arrive."""

    log_normaliser_N: Tensor
    entropy_N: Tensor
    grad_logp_N: Tensor | None
    grad_entropy_N: Tensor | None

    def __getitem__(self, rows: slice | Tensor) -> Incoming:
        logp, entropy = self.grad_logp_N, self.grad_entropy_N
        return Incoming(
            self.log_normaliser_N[rows],
            self.entropy_N[rows],
            None if logp is None else logp[rows],
            None if entropy is None else entropy[rows],
        )


class TileOps(Protocol):
    """What an implementation does to one tile of projections."""

    def fold(self, softmax: OnlineSoftmax, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head) -> None:
        """Add the tile, whose first column is vocabulary entry `start`, to the sums. May overwrite it."""
        ...

    def gradient(self, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head, incoming: Incoming) -> Tensor:
        """The gradient with respect to the tile, in its place."""
        ...


class TorchOps:
    """Plain PyTorch: any device, and fp64."""

    def fold(self, softmax: OnlineSoftmax, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head) -> None:
        softmax.fold(head.logits_(tile_NV), targets_N, start, finite=head.bias_V is None)

    def gradient(self, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head, incoming: Incoming) -> Tensor:
        logits = head.logits_(tile_NV)
        kept = logits.clone() if head.softcap is not None else None
        gradient = logit_gradient(
            logits,
            targets_N,
            start,
            incoming.log_normaliser_N,
            incoming.entropy_N,
            incoming.grad_logp_N,
            incoming.grad_entropy_N,
        )
        return head.chain_(gradient, kept)


@dataclass(frozen=True)
class Tiling:
    """Walks over tokens and vocabulary in tiles, in one buffer.

    Args:
        tokens, vocabulary: size of a tile.
        dtype: working dtype of the tiles, fp32 or fp64.
        compute: dtype of the product's factors; the product itself is in the working dtype.
    """

    tokens: int
    vocabulary: int
    dtype: torch.dtype
    compute: torch.dtype

    def sums(
        self, ops: TileOps, head: Head, hidden_Nd: Tensor, targets_N: Tensor, start: int, want: frozenset[str]
    ) -> Tensor:
        """The state of every token over the head's whole vocabulary, (6, N); its first row is entry `start`."""
        states = []
        buffer = self._buffer(head, hidden_Nd)
        for rows in _slices(len(hidden_Nd), self.tokens):
            hidden, targets = self._factor(hidden_Nd[rows]), targets_N[rows]
            softmax = OnlineSoftmax(len(hidden), want, self.dtype, hidden.device)
            for columns in _slices(len(head.weight_Vd), self.vocabulary):
                tile, _ = self._project(head, hidden, columns, buffer)
                ops.fold(softmax, tile, targets, start + columns.start, head)
            states.append(softmax.state)
        return torch.cat(states, 1)

    def gradients(
        self,
        ops: TileOps,
        head: Head,
        hidden_Nd: Tensor,
        targets_N: Tensor,
        start: int,
        incoming: Incoming,
        need: tuple[bool, bool, bool],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients with respect to hidden states, weight and bias, where needed, in the working dtype."""
        like = dict(dtype=self.dtype, device=hidden_Nd.device)
        # Sums over tiles are kept in the working dtype: rounding each to bf16 would bias the gradient.
        grad_hidden = torch.zeros(hidden_Nd.shape, **like) if need[0] else None  # type: ignore[call-overload]
        # Its rows are written by the first tokens, which spares clearing them.
        grad_weight = torch.empty(head.weight_Vd.shape, **like) if need[1] else None  # type: ignore[call-overload]
        grad_bias = torch.zeros(len(head.weight_Vd), **like) if need[2] else None  # type: ignore[call-overload]
        buffer = self._buffer(head, hidden_Nd)
        for rows in _slices(len(hidden_Nd), self.tokens):
            hidden, targets, arriving = self._factor(hidden_Nd[rows]), targets_N[rows], incoming[rows]
            for columns in _slices(len(head.weight_Vd), self.vocabulary):
                tile, weight = self._project(head, hidden, columns, buffer)
                gradient = ops.gradient(tile, targets, start + columns.start, head, arriving)
                if grad_bias is not None:
                    grad_bias[columns] += gradient.sum(0)
                gradient = gradient.to(weight.dtype)
                if grad_hidden is not None:
                    _add_product(grad_hidden[rows], gradient, weight)
                if grad_weight is not None:
                    _add_product(grad_weight[columns], gradient.t(), hidden, keep=rows.start > 0)
        return grad_hidden, grad_weight, grad_bias

    def _factor(self, factor: Tensor) -> Tensor:
        """A factor of a product, rounded to the compute dtype, in the dtype that the product is carried out in."""
        rounded = factor.to(self.compute)
        return rounded if factor.is_cuda and _OUT_DTYPE else rounded.to(self.dtype)

    def _buffer(self, head: Head, hidden_Nd: Tensor) -> Tensor:
        size = min(self.tokens, len(hidden_Nd)) * min(self.vocabulary, len(head.weight_Vd))
        return torch.empty(size, dtype=self.dtype, device=hidden_Nd.device)

    def _project(self, head: Head, hidden_Nd: Tensor, columns: slice, buffer: Tensor) -> tuple[Tensor, Tensor]:
        """One tile of projections, in the buffer, and the rows of the weight that made it."""
        weight = self._factor(head.weight_Vd[columns])
        tile = buffer[: len(hidden_Nd) * len(weight)].view(len(hidden_Nd), len(weight))
        if hidden_Nd.dtype == self.dtype:
            torch.mm(hidden_Nd, weight.t(), out=tile)
        else:
            torch.mm(hidden_Nd, weight.t(), out_dtype=self.dtype, out=tile)
        if head.bias_V is not None:
            tile.add_(head.bias_V[columns].to(self.dtype))
        return tile, weight


def _add_product(total: Tensor, left: Tensor, right: Tensor, keep: bool = True) -> None:
    """total += left @ right, or total = left @ right, without rounding the product to the factors' dtype."""
    if left.dtype == total.dtype:
        torch.addmm(total, left, right, beta=int(keep), out=total)
    else:
        torch.addmm(total, left, right, out_dtype=total.dtype, beta=int(keep), out=total)


def _slices(length: int, step: int) -> Iterator[slice]:
    """Consecutive slices; one empty slice where there is nothing, so that results keep their shape."""
    for first in range(0, max(length, 1), step):
        yield slice(first, min(first + step, length))
