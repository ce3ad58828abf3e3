"""An optimizer step's tokens, to be evaluated again: under its parameters before, after, or near them."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from entrostat.errors import DataError
from entrostat.stats.summarize import sum_dtype
from entrostat.types import TokenStats

Reduce = Callable[[Tensor], Tensor]
"""Takes a tensor and returns its sum over ranks."""


@dataclass(frozen=True)
class MicroBatch:
    """One micro-batch of an optimizer step: how to evaluate it again, and the gradients of its loss.

    Attributes:
        evaluate: logp, entropy (with gradient) and baseline of its tokens under the present parameters, (B, T).
        mask_BT: the tokens that count.
        push_logp_BT: dL/dlogp from this step's backward pass, with the factor of gradient accumulation.
        push_entropy_BT: dL/dentropy, for losses with an entropy term.
        advantages_BT: the advantages, by whose signs the tokens are grouped, (B, T) or (B, 1).
        prompts: one label per sequence; needed for the account by prompt.
    """

    evaluate: Callable[[], TokenStats]
    mask_BT: Tensor
    push_logp_BT: Tensor
    advantages_BT: Tensor
    push_entropy_BT: Tensor | None = None
    prompts: Sequence[Hashable] | None = None


@dataclass(frozen=True)
class Recomputation:
    """All micro-batches of a step, and the parameters that it moves.

    Attributes:
        batches: of this rank.
        parameters: the trainable ones.
        reduce: sum over ranks, where there are several; gradients must then be averaged over ranks, as DDP does.
        processes: number of ranks.
    """

    batches: Sequence[MicroBatch]
    parameters: Sequence[Tensor]
    reduce: Reduce | None = None
    processes: int = 1

    @torch.no_grad()
    def evaluate(self) -> list[TokenStats]:
        """The statistics of each micro-batch under the present parameters, without gradient."""
        return [batch.evaluate().detach() for batch in self.batches]

    def entropy_gradient(self) -> tuple[float, list[Tensor], list[TokenStats]]:
        """grad of sum_t m_t H_t / sum_t m_t over all micro-batches and ranks.

        Returns:
            The mean entropy [nats], its gradient with respect to each parameter (zeros where it does not depend on one),
            and each micro-batch's statistics without gradient.

        Raises:
            DataError: no micro-batch holds a token.
        """
        gradient = [torch.zeros_like(p) for p in self.parameters]
        found = []
        for batch in self.batches:
            stats = batch.evaluate()
            total = masked(stats.need("entropy"), batch).sum()
            for into, part in zip(
                gradient, torch.autograd.grad(total, self.parameters, allow_unused=True), strict=True
            ):
                if part is not None:
                    into.add_(part)
            found.append(stats.detach())
        entropy, tokens = self.mean([stats.need("entropy") for stats in found])
        if self.reduce is not None:
            gradient = [self.reduce(part) for part in gradient]
        for part in gradient:
            part.div_(tokens)
        return entropy, gradient, found

    def mean(self, values: Sequence[Tensor]) -> tuple[float, float]:
        """Mean over the masked tokens of all micro-batches and ranks, and how many there are.

        Raises:
            DataError: there are none.
        """
        sums = [
            torch.stack([masked(value.to(wide(value)), batch).sum(), batch.mask_BT.bool().sum().to(wide(value))])
            for value, batch in zip(values, self.batches, strict=True)
        ]
        vector = torch.stack(sums).sum(0)
        total, tokens = (self.reduce(vector) if self.reduce else vector).tolist()
        if not tokens:
            raise DataError("the step's mask is empty: there is no entropy to predict")
        return total / tokens, tokens

    def summed(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Numbers by name, added over ranks."""
        like = self.parameters[0]
        vector = torch.tensor(list(sums.values()), dtype=wide(like), device=like.device)
        return dict(zip(sums, (self.reduce(vector) if self.reduce else vector).tolist(), strict=True))

    @contextmanager
    def moved(
        self, base: Sequence[Tensor], direction: Sequence[Tensor] | None = None, eps: float = 0.0
    ) -> Iterator[None]:
        """While inside, the parameters are `base + eps * direction`; afterwards what they were, to the last bit."""
        kept = [p.detach().clone() for p in self.parameters]
        try:
            with torch.no_grad():
                for i, p in enumerate(self.parameters):
                    p.copy_(base[i] if direction is None else torch.add(base[i], direction[i], alpha=eps))
            yield
        finally:
            with torch.no_grad():
                for p, k in zip(self.parameters, kept, strict=True):
                    p.copy_(k)


def masked(values_BT: Tensor, batch: MicroBatch) -> Tensor:
    """The values with 0 wherever the mask is."""
    return values_BT.masked_fill(~batch.mask_BT.bool(), 0)


def wide(like: Tensor) -> torch.dtype:
    """fp64 where the device has it."""
    return sum_dtype(like.device)


def dot(a: Tensor, b: Tensor) -> float:
    """Inner product, added up in the widest dtype."""
    return float((a.detach().to(wide(a)) * b.detach().to(wide(b))).sum())


def norm(tensors: Sequence[Tensor | None]) -> float:
    """Euclidean norm over all tensors that are there."""
    return math.sqrt(sum(dot(t, t) for t in tensors if t is not None))
