"""The records that travel between statistics, methods and hosts. All frozen; shapes and units on every field.

Dimension suffixes: B sequences (rows), T completion tokens (columns), V vocabulary, d hidden size. Log-probabilities
and entropies are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from entrostat.errors import DataError, MissingStatistic

if TYPE_CHECKING:
    from torch import Tensor

STATISTICS = ("logp", "entropy", "baseline", "collision", "top1")
"""Names a caller may ask for; see `TokenStats`."""


@dataclass(frozen=True)
class TokenStats:
    """Numbers about the next-token distribution p at each position, and about the token k that was sampled there.

    Only what was asked for is there; reading another field through a derived property raises `MissingStatistic`.

    Attributes:
        logp: log p_k, (B, T) or (N,), may carry a gradient.
        entropy: H = -sum_i p_i log p_i, same shape, may carry a gradient.
        baseline: B = sum_i p_i^2 (H + log p_i), same shape, without gradient.
        collision: sum_i p_i^2, the probability that two draws agree, same shape, without gradient.
        top1: 1 where no token is likelier than k (ties count), else 0, same shape and dtype, without gradient.
    """

    logp: Tensor | None = None
    entropy: Tensor | None = None
    baseline: Tensor | None = None
    collision: Tensor | None = None
    top1: Tensor | None = None

    def need(self, name: str) -> Tensor:
        """The statistic `name`, or `MissingStatistic` when it was not computed."""
        value = getattr(self, name)
        if value is None:
            have = [n for n in STATISTICS if getattr(self, n) is not None]
            raise MissingStatistic(f"{name} was not computed: have {have}. Add {name!r} to want=...")
        return value

    def available(self) -> frozenset[str]:
        """The names of the statistics that are there."""
        return frozenset(n for n in STATISTICS if getattr(self, n) is not None)

    def detach(self) -> TokenStats:
        """The same numbers without gradient."""
        return TokenStats(**{n: None if (v := getattr(self, n)) is None else v.detach() for n in STATISTICS})

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

        Its sign says on which side of the watershed exp(-H) the token lies (2602.03392, Eq. 5).
        """
        logp = self.need("logp")
        return self.prob * (self.need("entropy") + logp.clamp_min(-1e4))

    @property
    def centred(self) -> Tensor:
        """D = S - B, whose expectation over the policy is zero: one GRPO step with weight a changes H by -a D."""
        return self.discriminator - self.need("baseline")


@dataclass(frozen=True)
class TokenBatch:
    """What a method sees of one micro-batch.

    Attributes:
        stats: statistics of the policy being trained, at the sampling temperature, (B, T). `logp` carries the gradient.
        advantages_BT: advantage of each token; a (B,) or (B, 1) advantage is broadcast by the objective's constructor.
        mask_BT: 1 for completion tokens up to and including the first EOS, 0 for padding and tool output.
        old_logp_BT: log-probability under the policy that sampled; None on-policy, where the importance ratio is 1.
        rewards_B: raw reward of each sequence, for methods that build their own advantages.
        ids_BT: the completions' token ids, and prompts_B each row's prompt (a text, or its token ids): for records
            (`attribution.TokenRecorder`); no method reads them.
    """

    stats: TokenStats
    advantages_BT: Tensor
    mask_BT: Tensor
    old_logp_BT: Tensor | None = None
    rewards_B: Tensor | None = None
    ids_BT: Tensor | None = None
    prompts_B: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.mask_BT.shape)
        if len(shape) != 2:
            raise DataError(f"mask_BT must have two dimensions (sequences, tokens), got shape {shape}")
        if self.advantages_BT.dim() == 1:
            object.__setattr__(self, "advantages_BT", self.advantages_BT.unsqueeze(1))
        if self.advantages_BT.shape[0] != shape[0] or self.advantages_BT.shape[1] not in (1, shape[1]):
            raise DataError(
                f"advantages must have shape ({shape[0]},) or {shape}, got {tuple(self.advantages_BT.shape)}"
            )
        object.__setattr__(self, "advantages_BT", self.advantages_BT.expand(shape))
        others = {n: getattr(self.stats, n) for n in STATISTICS} | {
            "old_logp_BT": self.old_logp_BT,
            "ids_BT": self.ids_BT,
        }
        for name, value in others.items():
            if value is not None and tuple(value.shape) != shape:
                raise DataError(f"{name} must have the mask's shape {shape}, got {tuple(value.shape)}")
        if self.rewards_B is not None and tuple(self.rewards_B.shape) != shape[:1]:
            raise DataError(f"rewards_B must have shape ({shape[0]},), got {tuple(self.rewards_B.shape)}")
        if self.prompts_B is not None and len(self.prompts_B) != shape[0]:
            raise DataError(
                f"prompts_B must hold one prompt for each of {shape[0]} sequences, got {len(self.prompts_B)}"
            )

    @cached_property
    def mask(self) -> Tensor:
        """The mask as booleans, (B, T)."""
        return self.mask_BT.bool()

    @property
    def ratio(self) -> Tensor:
        """Importance ratio p / p_old, with the gradient of p, (B, T). Not cached: a copy made without gradient would stay."""
        logp = self.stats.need("logp")
        old = logp.detach() if self.old_logp_BT is None else self.old_logp_BT
        return (logp - old).exp()


@dataclass(frozen=True)
class Term:
    """A differentiable term added to the loss: `coef * mean of value_BT over mask_BT`.

    Attributes:
        over: what the mean is over when the batch comes in several micro-batches: "step", all tokens of the optimizer
            step, or "micro", the masked tokens of each micro-batch, whose means are then averaged.
    """

    name: str
    value_BT: Tensor
    mask_BT: Tensor
    coef: float
    over: Literal["step", "micro"] = "step"

    def loss(self) -> Tensor:
        """The term as a token mean over this micro-batch; 0 (with gradient 0) where the mask is empty."""
        mask = self.mask_BT.bool()
        return self.coef * self.value_BT.masked_fill(~mask, 0).sum() / mask.sum().clamp_min(1)


Objective = Literal["ppo", "grpo", "cispo", "gspo"]


@dataclass(frozen=True)
class Surrogate:
    """The objective before it becomes a number. Methods return changed copies (`dataclasses.replace`).

    Attributes:
        objective: form of the per-token loss and of its mean; see `methods.objectives`.
        advantages_BT: advantage of each token.
        weight_BT: factor on each token's loss, zero or more, without gradient; None means 1.
        keep_BT: tokens that stay in the loss; None means all of the mask. A dropped token also leaves the denominator
            of the mean (as in the released Clip_B and Clip_V); a weight of 0 does not.
        eps_low, eps_high: clip range of the importance ratio, [1 - eps_low, 1 + eps_high]; a number or (B, T).
        dual_clip: bound c on the loss of negative advantages, -A c (None: no bound).
        terms: further differentiable terms.
        sums: what the methods want added up over the whole optimizer step, as 0-dimensional tensors by name; the host
            adds them to the `Summary`.
    """

    objective: Objective
    advantages_BT: Tensor
    weight_BT: Tensor | None = None
    keep_BT: Tensor | None = None
    eps_low: float | Tensor = 0.2
    eps_high: float | Tensor = 0.2
    dual_clip: float | None = None
    terms: tuple[Term, ...] = ()
    sums: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """Sums over the masked tokens of one or more micro-batches; `a + b` merges two, on one rank or on several.

    Averages are taken at the end, never averaged. While on a device the values are 0-dimensional tensors; after
    `reduced` they are floats. Keys are fixed by the method, so they agree on every rank.
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

    def mean(self, name: str) -> float:
        """A sum divided by the number of tokens; NaN where there are none."""
        return self.get(name) / self.tokens if self.tokens else math.nan
