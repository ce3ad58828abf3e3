"""The sums of an optimizer step over its micro-batches and ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


MEASURED = ("entropy", "entropy_sq", "surprisal")
"""Sums over the tokens of `TokenBatch.measured` alone."""


@dataclass(frozen=True)
class Summary:
    """Sums over the masked tokens of one or more micro-batches; `a + b` merges two, on one rank or on several.

    Means are taken from these sums at the end; means are never averaged. The values are 0-dimensional tensors, and floats after
    `reduced`. The keys depend only on the method, so they agree on every rank.
    """

    values: Mapping[str, Tensor | float] = field(default_factory=dict)

    def __add__(self, other: Summary) -> Summary:
        merged = dict(self.values)
        for name, value in other.values.items():
            merged[name] = merged[name] + value if name in merged else value
        return Summary(merged)

    def reduced(self, all_reduce: Callable[[Tensor], Tensor] | None = None) -> Summary:
        """The same sums as floats, added over ranks by one all-reduce of one flat vector.

        Args:
            all_reduce: takes the vector (K,) and returns its sum over ranks; None on a single process.
        """
        import torch

        names = sorted(self.values)
        if not names:
            return self
        vector = torch.stack([torch.as_tensor(self.values[name]) for name in names])
        if all_reduce is not None:
            vector = all_reduce(vector)
        return Summary(dict(zip(names, vector.tolist(), strict=True)))

    def get(self, name: str) -> float:
        """One sum as a float; 0 where nothing was added under that name."""
        return float(self.values.get(name, 0.0))

    @property
    def tokens(self) -> float:
        """The number of masked tokens."""
        return self.get("tokens")

    @property
    def measured(self) -> float:
        """The number of masked tokens that were sampled from the policy itself; see `TokenBatch.tempered_B`."""
        return self.get("tokens/measured") if "tokens/measured" in self.values else self.tokens

    def divisor(self, of: str) -> float:
        """The denominator of the host's mean over "tokens", "sequences" or "batches": their number, or `TokenBatch.divisors`.

        For a "fixed" one that is not known, the number of tokens.
        """
        return self.get(f"divisor/{of}") or self.get("tokens" if of == "fixed" else of)

    def mean(self, name: str) -> float:
        """A sum divided by the number of tokens that it is of; NaN where there are none."""
        count = self.measured if name in MEASURED else self.tokens
        return self.get(name) / count if count else math.nan


@dataclass(frozen=True)
class Totals:
    """The sums of one optimizer step: over its tokens, and each link's own, by its place in the chain.

    The keys are fixed before the first batch, so every rank adds up the same vector, even without a micro-batch.

    Attributes:
        fresh: whether the tokens were sampled since the last step; None if the loop does not say.
    """

    standard: Summary
    links: tuple[Mapping[str, float], ...] = ()
    fresh: bool | None = None

    def of(self, index: int) -> Summary:
        """The standard sums and those of the link at `index`, as that link reads them."""
        own = self.links[index] if index < len(self.links) else {}
        return Summary({**self.standard.values, **own})
