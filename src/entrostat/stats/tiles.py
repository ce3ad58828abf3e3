"""The pass over tiles of logits: forward to the sums of an online softmax, backward to the gradients.

A tile is one product of some hidden states with some rows of the head's weight. What is done to it, folding it into the
sums or turning it into its own gradient, is the `TileOps` of an implementation; the loop around it is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from entrostat.stats.gradient import LogitGradient
from entrostat.stats.online import OnlineSoftmax

# torch.addmm(..., out_dtype=...): half-precision factors, fp32 product. 2.8 and 2.9 have it, but add to half precision alone.
_OUT_DTYPE = TorchVersion(torch.__version__) >= "2.10"


@dataclass(frozen=True)
class Head:
    """What turns hidden states into logits: softcap * tanh(scale * (h W' + b) / softcap) / temperature."""

    weight_Vd: Tensor
    bias_V: Tensor | None
    temperature: float
    scale: float
    softcap: float | None

    @property
    def gain(self) -> float:
        """What the projection is multiplied by, within the product: it gives logits, or what goes into tanh."""
        return self.scale / (self.temperature if self.softcap is None else self.softcap)

    @property
    def cap(self) -> float | None:
        """The logits per unit of tanh; None where there is no softcap."""
        return None if self.softcap is None else self.softcap / self.temperature


class TileOps(Protocol):
    """What an implementation does to one tile of projections.

    leaves_out_idle: whether tokens that no gradient arrives at are taken out before the backward's products, for which a
        device must be waited for; otherwise `gradient` writes zeros for them, whatever their logits hold.
    """

    leaves_out_idle: ClassVar[bool]

    def fold(self, softmax: OnlineSoftmax, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head) -> None:
        """Add the tile, whose first column is vocabulary entry `start`, to the sums. May overwrite it under a softcap."""
        ...

    def gradient(
        self, out_NV: Tensor, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head, rule: LogitGradient
    ) -> Tensor:
        """The gradient with respect to the projection, into `out_NV`, which may be the tile.

        The rule gives the gradient with respect to the logits.
        """
        ...


class TorchOps:
    """Plain PyTorch: any device, and fp64."""

    leaves_out_idle: ClassVar[bool] = True

    def fold(self, softmax: OnlineSoftmax, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head) -> None:
        if head.cap is not None:
            tile_NV.tanh_().mul_(head.cap)
        softmax.fold(tile_NV, targets_N, start, finite=head.bias_V is None)

    def gradient(
        self, out_NV: Tensor, tile_NV: Tensor, targets_N: Tensor, start: int, head: Head, rule: LogitGradient
    ) -> Tensor:
        finite = head.bias_V is None
        if head.cap is None:
            return rule.write(out_NV, tile_NV, targets_N, start, finite)
        tanh = tile_NV.tanh()
        rule.write(out_NV, tanh * head.cap, targets_N, start, finite)
        return out_NV.mul_(tanh.square_().neg_().add_(1))


@dataclass(frozen=True)
class Kept:
    """Tiles of the forward that the backward need not compute again: the first ones of the vocabulary, for every token.

    active: the tokens that the backward is about, where it is not about all.
    """

    tiles: tuple[Tensor, ...] = ()
    active: Tensor | None = None

    def tile(self, number: int, rows: slice) -> Tensor | None:
        """These rows of a tile, counted along the vocabulary; None where it was not kept."""
        if number >= len(self.tiles):
            return None
        return self.tiles[number][rows if self.active is None else self.active[rows]]


@dataclass(frozen=True)
class Tiling:
    """Walks over tokens and vocabulary in tiles, in one buffer.

    Args:
        tokens, vocabulary: size of a tile.
        dtype: working dtype of the tiles, fp32 or fp64.
        compute: dtype of the product's factors; the product itself is in the working dtype.
        keep: bytes of logits that the forward may keep for the backward.
    """

    tokens: int
    vocabulary: int
    dtype: torch.dtype
    compute: torch.dtype
    keep: int = 0

    def sums(
        self,
        ops: TileOps,
        head: Head,
        hidden_Nd: Tensor,
        targets_N: Tensor,
        want: frozenset[str],
        kept: tuple[Tensor, ...] = (),
    ) -> Tensor:
        """The state of every token over the head's whole vocabulary, (6, N).

        kept: filled with the first tiles; see `room`.
        """
        states = []
        buffer = self._buffer(head, hidden_Nd)
        for rows in _slices(len(hidden_Nd), self.tokens):
            hidden, targets = self._factor(hidden_Nd[rows]), targets_N[rows]
            softmax = OnlineSoftmax(len(hidden), want, self.dtype, hidden.device)
            for number, columns in enumerate(_slices(len(head.weight_Vd), self.vocabulary)):
                weight = self._factor(head.weight_Vd[columns])
                tile = kept[number][rows] if number < len(kept) else _part(buffer, hidden, weight)
                self._project(tile, hidden, weight, head, columns)
                ops.fold(softmax, tile, targets, columns.start, head)
            states.append(softmax.state)
        return torch.cat(states, 1)

    def room(self, head: Head, hidden_Nd: Tensor) -> tuple[Tensor, ...]:
        """Room for as many tiles, over all tokens, as may be kept. None under a softcap, where tiles are overwritten."""
        size = len(hidden_Nd) * self.vocabulary * self.dtype.itemsize
        count = 0 if head.cap is not None else min(self.keep // max(size, 1), len(head.weight_Vd) // self.vocabulary)
        shape = (len(hidden_Nd), self.vocabulary)
        return tuple(torch.empty(shape, dtype=self.dtype, device=hidden_Nd.device) for _ in range(count))

    def gradients(
        self,
        ops: TileOps,
        head: Head,
        hidden_Nd: Tensor,
        targets_N: Tensor,
        rule: LogitGradient,
        need: tuple[bool, bool, bool],
        kept: Kept,
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
            hidden, targets, arriving = self._factor(hidden_Nd[rows]), targets_N[rows], rule[rows]
            for number, columns in enumerate(_slices(len(head.weight_Vd), self.vocabulary)):
                weight = self._factor(head.weight_Vd[columns])
                out = _part(buffer, hidden, weight)
                tile = kept.tile(number, rows)
                if tile is None:
                    tile = self._project(out, hidden, weight, head, columns)
                gradient = ops.gradient(out, tile, targets, columns.start, head, arriving)
                if grad_bias is not None:
                    grad_bias[columns] += gradient.sum(0)
                gradient = gradient.to(weight.dtype)
                if grad_hidden is not None:
                    _multiply(grad_hidden[rows], gradient, weight)
                if grad_weight is not None:
                    _multiply(grad_weight[columns], gradient.t(), hidden, keep=rows.start > 0)
        return grad_hidden, grad_weight, grad_bias

    def _factor(self, factor: Tensor) -> Tensor:
        """A factor of a product, rounded to the compute dtype, in the dtype that the product is carried out in."""
        rounded = factor.to(self.compute)
        return rounded if factor.is_cuda and _OUT_DTYPE else rounded.to(self.dtype)

    def _buffer(self, head: Head, hidden_Nd: Tensor) -> Tensor:
        size = min(self.tokens, len(hidden_Nd)) * min(self.vocabulary, len(head.weight_Vd))
        return torch.empty(size, dtype=self.dtype, device=hidden_Nd.device)

    def _project(self, tile_NV: Tensor, hidden_Nd: Tensor, weight_Vd: Tensor, head: Head, columns: slice) -> Tensor:
        """Fills a tile with projections."""
        _multiply(tile_NV, hidden_Nd, weight_Vd.t(), keep=False, factor=head.gain)
        if head.bias_V is not None:
            tile_NV.add_(head.bias_V[columns].to(self.dtype), alpha=head.gain)
        return tile_NV


def _part(buffer: Tensor, hidden_Nd: Tensor, weight_Vd: Tensor) -> Tensor:
    """The buffer's first numbers as a tile for these tokens and rows of the weight."""
    return buffer[: len(hidden_Nd) * len(weight_Vd)].view(len(hidden_Nd), len(weight_Vd))


def _multiply(total: Tensor, left: Tensor, right: Tensor, keep: bool = True, factor: float = 1.0) -> None:
    """total += factor * left @ right, or = where it is not kept, without rounding the product to the factors' dtype."""
    if left.dtype == total.dtype:
        torch.addmm(total, left, right, beta=int(keep), alpha=factor, out=total)
    else:
        torch.addmm(total, left, right, out_dtype=total.dtype, beta=int(keep), alpha=factor, out=total)


def _slices(length: int, step: int) -> Iterator[slice]:
    """Consecutive slices; one empty slice where there is nothing, so that results keep their shape."""
    for first in range(0, max(length, 1), step):
        yield slice(first, min(first + step, length))
