"""The statistics of a next-token distribution: what a method may ask for, and the record that it gets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from entrostat.errors import ConfigError, MissingStatistic

if TYPE_CHECKING:
    from torch import Tensor

STATISTICS = ("logp", "entropy", "baseline", "collision")
"""The statistics with a name of their own; see `TokenStats`. Those with a parameter are `Statistic`."""


@dataclass(frozen=True)
class Statistic:
    """A statistic with a parameter, as a method declares it: `want=("logp", Nucleus(0.8))`.

    The set is open: a subclass here for the name, its formula in `stats.truncated`. Without a gradient unless `gradient`
    is asked for, which costs a host a graph through the whole vocabulary.
    """


@dataclass(frozen=True)
class Nucleus(Statistic):
    """Entropy of the smallest set of likeliest tokens whose mass reaches `mass`, renormalized [nats].

    Args:
        crossing: whether the token that crosses the mass is in the set; SIREN's release leaves it out.
        most: at most so many tokens; 0: no bound.
    """

    mass: float = 0.8
    crossing: bool = True
    most: int = 0
    gradient: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.mass <= 1 or self.most < 0:
            raise ConfigError(f"Nucleus needs a mass in (0, 1] and most of 0 or more, got {self}")


@dataclass(frozen=True)
class TopKEntropy(Statistic):
    """Entropy of the k likeliest tokens, renormalized [nats]."""

    k: int = 20
    gradient: bool = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"TopKEntropy needs k of at least 1, got {self.k}")


@dataclass(frozen=True)
class Clamped(Statistic):
    """Entropy without the `dropped` share of the vocabulary that is least likely, renormalized [nats] (AEnt)."""

    dropped: float = 0.3
    gradient: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.dropped < 1:
            raise ConfigError(f"Clamped needs a dropped share in [0, 1), got {self.dropped}")


@dataclass(frozen=True)
class MinP(Statistic):
    """log p_k after the min-p filter p_v >= kappa max p, renormalized; -1e4 where the sampled token is filtered out."""

    kappa: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.kappa <= 1:
            raise ConfigError(f"MinP needs kappa in [0, 1], got {self.kappa}")


@dataclass(frozen=True)
class Varentropy(Statistic):
    """Variance of log p over the policy, sum p (log p + H)^2 [nats^2]: minus dH / d log T."""


@dataclass(frozen=True)
class LogpAt(Statistic):
    """log p_k with the logits divided by `temperature` once more [nats]."""

    temperature: float = 1.0
    gradient: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"LogpAt needs a temperature above zero, got {self.temperature}")


@dataclass(frozen=True)
class TopLogp(Statistic):
    """The k largest log-probabilities, descending, (B, T, k)."""

    k: int = 8
    gradient: bool = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"TopLogp needs k of at least 1, got {self.k}")


@dataclass(frozen=True)
class Reheated(Statistic):
    """Cross-entropy to the policy's own distribution at `temperature`: -sum_v sg(p_T)_v log p_v [nats]."""

    temperature: float = 1.5
    gradient: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"Reheated needs a temperature above zero, got {self.temperature}")


@dataclass(frozen=True)
class Old(Statistic):
    """Another statistic under the policy that sampled, at the same tokens; on-policy it is the current one.

    `Old("entropy")` is the entropy of the old policy, from the pass that gives old log-probabilities.
    """

    of: Want = "entropy"

    def __post_init__(self) -> None:
        if isinstance(self.of, Old) or getattr(self.of, "gradient", False):
            raise ConfigError(f"Old takes a statistic of one policy, without a gradient, got {self.of!r}")


Want: TypeAlias = str | Statistic
"""What a method may ask for: a name of `STATISTICS`, or a `Statistic`."""


@dataclass(frozen=True)
class TokenStats:
    """Numbers about the next-token distribution p at each position, and about the token k that was sampled there.

    Only what was asked for is there; reading another field through a derived property raises `MissingStatistic`.

    Attributes:
        logp: log p_k, (B, T) or (N,), may carry a gradient.
        entropy: H = -sum_i p_i log p_i, same shape, may carry a gradient.
        baseline: B = sum_i p_i^2 (H + log p_i), same shape, without gradient.
        collision: sum_i p_i^2, the probability that two draws agree, same shape, without gradient.
        extra: the statistics with a parameter, by what was asked for; same shape, `TopLogp` with one more dimension.
    """

    logp: Tensor | None = None
    entropy: Tensor | None = None
    baseline: Tensor | None = None
    collision: Tensor | None = None
    extra: Mapping[Statistic, Tensor] = field(default_factory=dict)

    def need(self, name: Want) -> Tensor:
        """The statistic `name`, or `MissingStatistic` when it was not computed."""
        value: Tensor | None = getattr(self, name) if isinstance(name, str) else self.extra.get(name)
        if value is None:
            raise MissingStatistic(f"{name} was not computed: have {self._names()}. Add {name!r} to want=...")
        return value

    def _names(self) -> list[str]:
        return [n for n in STATISTICS if getattr(self, n) is not None] + [str(n) for n in self.extra]

    def available(self) -> frozenset[str]:
        """The names of the statistics that are there."""
        return frozenset(n for n in STATISTICS if getattr(self, n) is not None)

    def map(self, change: Callable[[Tensor], Tensor]) -> TokenStats:
        """The same statistics, each changed by a function: rows taken, a gradient dropped."""
        named: dict[str, Any] = {n: None if (v := getattr(self, n)) is None else change(v) for n in STATISTICS}
        return TokenStats(**named, extra={n: change(v) for n, v in self.extra.items()})

    def detach(self) -> TokenStats:
        """The same numbers without gradient."""
        return self.map(lambda value: value.detach())

    @property
    def prob(self) -> Tensor:
        """p_k, the sampled token's probability."""
        return self.need("logp").exp()

    @property
    def surprisal(self) -> Tensor:
        """-log p_k [nats]."""
        return -self.need("logp")

    @property
    def discriminator(self) -> Tensor:
        """S = p_k (H + log p_k); 0 where p_k = 0, the limit.

        Its sign says whether the token is likelier or less likely than exp(-H) (2602.03392, Eq. 5).
        """
        logp = self.need("logp")
        return self.prob * (self.need("entropy") + logp.clamp_min(-1e4))

    @property
    def centered(self) -> Tensor:
        """D = S - B, whose expectation over the policy is zero: one GRPO step with weight a changes H by -a D."""
        return self.discriminator - self.need("baseline")
