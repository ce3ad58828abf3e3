"""A random batch as NumPy arrays, and the same batch as the library takes it: what transcriptions of papers are tested on.

Everything here is worked out from logits in float64, by loops where a loop is plainer, and shares no code with the library.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from entrostat.types import LogpAt, MinP, Nucleus, Old, Rollouts, TokenBatch, TokenStats

B, T, V = 8, 7, 11
GROUPS = np.array([0, 0, 0, 0, 1, 1, 1, 1])


@dataclass(frozen=True)
class Data:
    """Two groups of four completions.

    `equal`: every reward alike; `unscored`: some rewards are None; `stale`: ratios are not 1.
    """

    seed: int
    stale: bool = True
    equal: bool = False
    unscored: bool = False
    scale: float = 2.0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        z = self.scale * rng.normal(size=(B, T, V))
        lengths = rng.integers(1, T + 1, size=B)
        lengths[0] = T
        old = z + (0.4 * rng.normal(size=z.shape) if self.stale else 0)
        rewards = rng.integers(0, 2, size=B).astype(float)
        rewards[0], rewards[1] = 1.0, 0.0
        if self.equal:
            rewards[:] = 1.0
        if self.unscored:
            rewards[[2, 6]] = np.nan
        set_ = object.__setattr__
        set_(self, "logits", z), set_(self, "old_logits", old), set_(self, "rewards", rewards)
        set_(self, "tokens", rng.integers(0, V, size=(B, T)))
        set_(self, "mask", np.arange(T)[None] < lengths[:, None])
        set_(self, "lengths", lengths.astype(float))

    # -- statistics ----------------------------------------------------------------------------------------------------

    def logp_V(self, old: bool = False, temperature: float = 1.0) -> np.ndarray:
        z = (self.old_logits if old else self.logits) / temperature
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    def of_token(self, values: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, self.tokens[..., None], -1)[..., 0]

    @cached_property
    def logp(self) -> np.ndarray:
        return self.of_token(self.logp_V())

    @cached_property
    def old_logp(self) -> np.ndarray:
        return self.of_token(self.logp_V(old=True)) if self.stale else self.logp

    @cached_property
    def ratio(self) -> np.ndarray:
        return np.exp(self.logp - self.old_logp)

    def entropy_of(self, old: bool = False) -> np.ndarray:
        logp = self.logp_V(old)
        return -(np.exp(logp) * logp).sum(-1)

    @cached_property
    def entropy(self) -> np.ndarray:
        return self.entropy_of()

    @cached_property
    def baseline(self) -> np.ndarray:
        logp = self.logp_V()
        return (np.exp(2 * logp) * (self.entropy[..., None] + logp)).sum(-1)

    def nucleus(self, mass: float) -> np.ndarray:
        """Entropy of the tokens before the one that crosses the mass, renormalized; at least one is kept."""
        found = np.zeros((B, T))
        for i in range(B):
            for t in range(T):
                p = np.sort(np.exp(self.logp_V()[i, t]))[::-1]
                kept = max(int((p.cumsum() < mass).sum()), 1)
                q = p[:kept] / p[:kept].sum()
                found[i, t] = -(q * np.log(q)).sum()
        return found

    def min_p(self, kappa: float) -> np.ndarray:
        """log p of the sampled token under the old policy after the filter; -1e4 where it is filtered out."""
        p = np.exp(self.logp_V(old=self.stale))
        kept = p >= kappa * p.max(-1, keepdims=True)
        total = (p * kept).sum(-1)
        return np.where(self.of_token(kept), self.of_token(np.log(p)) - np.log(total), -1e4)

    @cached_property
    def grpo(self) -> np.ndarray:
        """Group-normalized advantages, 0 for unscored rows, (B,)."""
        found = np.zeros(B)
        for group in (0, 1):
            rows = [i for i in range(B) if GROUPS[i] == group and not np.isnan(self.rewards[i])]
            r = self.rewards[rows]
            found[rows] = (r - r.mean()) / (r.std(ddof=1) + 1e-4)
        return found

    @cached_property
    def advantages(self) -> np.ndarray:
        return np.repeat(self.grpo[:, None], T, 1)

    @property
    def mean_entropy(self) -> float:
        return float(self.entropy[self.mask].mean())

    # -- for the library -----------------------------------------------------------------------------------------------

    def batch(self, extra: dict[Any, np.ndarray] | None = None, old: dict[Any, np.ndarray] | None = None) -> TokenBatch:
        def tensor(value: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(value))

        stats = TokenStats(
            logp=tensor(self.logp).requires_grad_(),
            entropy=tensor(self.entropy).requires_grad_(),
            baseline=tensor(self.baseline),
            extra={name: tensor(value) for name, value in (extra or {}).items()},
        )
        before = TokenStats(
            logp=tensor(self.old_logp),
            entropy=tensor(self.entropy_of(old=self.stale)),
            extra={name: tensor(value) for name, value in (old or {}).items()},
        )
        return TokenBatch(
            stats,
            tensor(self.advantages),
            tensor(self.mask),
            tensor(self.old_logp) if self.stale else None,
            tensor(self.rewards),
            tensor(GROUPS),
            before,
        )

    def rollouts(self) -> Rollouts:
        def sums(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy((values * self.mask).sum(1))

        return Rollouts(
            torch.from_numpy(self.grpo),
            torch.from_numpy(self.rewards),
            torch.from_numpy(GROUPS),
            torch.from_numpy(self.lengths),
            {"logp": sums(self.old_logp), "entropy": sums(self.entropy_of(old=self.stale))},
        )


__all__ = ["GROUPS", "B", "Data", "LogpAt", "MinP", "Nucleus", "Old", "T", "V"]
