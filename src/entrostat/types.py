"""The records that travel between statistics, methods and hosts. All frozen; shapes and units on every field.

Dimension suffixes: B sequences (rows), T completion tokens (columns), V vocabulary, d hidden size. Log-probabilities
and entropies are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from entrostat.errors import ConfigError, DataError, MissingStatistic

if TYPE_CHECKING:
    from torch import Tensor

STATISTICS = ("logp", "entropy", "baseline", "collision")
"""The statistics with a name of their own; see `TokenStats`. Those with a parameter are `Statistic`."""

LARGEST_LOG_RATIO = 20.0
"""Bound on |log(p / p_old)|, as in verl and Trinity-RFT: beyond it the ratio is e^20 and has no gradient."""


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

        Its sign says on which side of the watershed exp(-H) the token lies (2602.03392, Eq. 5).
        """
        logp = self.need("logp")
        return self.prob * (self.need("entropy") + logp.clamp_min(-1e4))

    @property
    def centered(self) -> Tensor:
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
        rewards_B: raw reward of each sequence; NaN where nothing scored it, which is not a wrong answer.
        groups_B: which rows answer one prompt: equal numbers, one group.
        old: statistics of the policy that sampled, for methods that ask for `Old(...)`; None on-policy.
        whole_step: this batch is the whole optimizer step, on all ranks: quantities of scope "step" are of it.
        ids_BT: the completions' token ids, and prompts_B each row's prompt (a text, or its token ids): for records
            (`attribution.TokenRecorder`); no method reads them.
    """

    stats: TokenStats
    advantages_BT: Tensor
    mask_BT: Tensor
    old_logp_BT: Tensor | None = None
    rewards_B: Tensor | None = None
    groups_B: Tensor | None = None
    old: TokenStats | None = None
    whole_step: bool = False
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
        others: dict[Any, Tensor | None] = {n: getattr(self.stats, n) for n in STATISTICS}
        for name, value in {
            **others,
            **self.stats.extra,
            "old_logp_BT": self.old_logp_BT,
            "ids_BT": self.ids_BT,
        }.items():
            if value is not None and tuple(value.shape[:2]) != shape:
                raise DataError(f"{name} must have the mask's shape {shape}, got {tuple(value.shape)}")
        for name, value in {"rewards_B": self.rewards_B, "groups_B": self.groups_B}.items():
            if value is not None and tuple(value.shape) != shape[:1]:
                raise DataError(f"{name} must have shape ({shape[0]},), got {tuple(value.shape)}")
        if self.prompts_B is not None and len(self.prompts_B) != shape[0]:
            raise DataError(
                f"prompts_B must hold one prompt for each of {shape[0]} sequences, got {len(self.prompts_B)}"
            )

    @cached_property
    def mask(self) -> Tensor:
        """The mask as booleans, (B, T)."""
        return self.mask_BT.bool()

    @property
    def log_ratio(self) -> Tensor:
        """log(p / p_old), with the gradient of p, within +-20, (B, T); 0 at padding, whatever that holds.

        Padding is taken out before any exponential: masked out after it, 0 * NaN in the backward pass would be NaN. Not
        cached: a copy made without gradient would stay.
        """
        logp = self.stats.need("logp").masked_fill(~self.mask, 0)
        old = logp if self.old_logp_BT is None else self.old_logp_BT.masked_fill(~self.mask, 0)
        return (logp - old.detach()).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)

    @property
    def ratio(self) -> Tensor:
        """Importance ratio p / p_old, with the gradient of p, (B, T); 1 at padding."""
        return self.log_ratio.exp()

    def need(self, name: Want) -> Tensor:
        """A statistic of the policy, or with `Old` of the one that sampled; `MissingStatistic` when it was not computed."""
        if not isinstance(name, Old):
            return self.stats.need(name)
        if self.old is not None:
            return self.old.need(name.of)
        if self.old_logp_BT is not None:
            if name.of == "logp":
                return self.old_logp_BT
            raise MissingStatistic(f"{name} was not computed: pass `old`, the old policy's statistics, in the batch")
        return self.stats.need(name.of).detach()

    def rows(self, rows: slice | Tensor) -> TokenBatch:
        """Some of its rows."""

        def some(value: Tensor | None) -> Tensor | None:
            return None if value is None else value[rows]

        return TokenBatch(
            self.stats.map(lambda value: value[rows]),
            self.advantages_BT[rows],
            self.mask_BT[rows],
            some(self.old_logp_BT),
            some(self.rewards_B),
            some(self.groups_B),
            None if self.old is None else self.old.map(lambda value: value[rows]),
        )


@dataclass(frozen=True)
class Rollouts:
    """Scored completions, whole groups at hand: what a method of the reward stage sees and returns changed.

    Attributes:
        advantages: the host's, (B,) or (B, T); what a method changes. 0 for unscored rows, whatever it says.
        rewards_B: raw reward of each completion; NaN where nothing scored it, which is not a wrong answer.
        groups_B: which rows answer one prompt: equal numbers, one group. All rows of a group are here.
        lengths_B: number of completion tokens.
        sums_B: sums over each completion's tokens of what the method asks for in `of_rollouts`, (B,), under the policy
            that sampled: "logp", "entropy", or a `Statistic`.
        mask_BT: completion tokens, where the host has them.
        keep_B: rows that stay in the batch; None means all. A dropped row leaves every denominator.
        step, total_steps: optimizer steps done, and of the whole run; None where the host does not know.
        sums: numbers to add up for the log, as 0-dimensional tensors by the names that the method declares.
    """

    advantages: Tensor
    rewards_B: Tensor
    groups_B: Tensor
    lengths_B: Tensor
    sums_B: Mapping[Want, Tensor] = field(default_factory=dict)
    mask_BT: Tensor | None = None
    keep_B: Tensor | None = None
    step: int | None = None
    total_steps: int | None = None
    sums: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = tuple(self.rewards_B.shape)
        if len(rows) != 1:
            raise DataError(f"rewards_B must have one dimension, got shape {rows}")
        own: dict[Any, Any] = {
            "groups_B": self.groups_B,
            "lengths_B": self.lengths_B,
            "keep_B": self.keep_B,
            **self.sums_B,
        }
        for name, value in own.items():
            if value is not None and tuple(getattr(value, "shape", ("no tensor",))) != rows:
                raise DataError(f"{name} must have shape {rows}, got {getattr(value, 'shape', value)}")
        if self.advantages.dim() not in (1, 2) or self.advantages.shape[:1] != self.rewards_B.shape:
            raise DataError(f"advantages must have shape {rows} or (rows, T), got {tuple(self.advantages.shape)}")

    @property
    def scored(self) -> Tensor:
        """Rows that have a reward, (B,) booleans."""
        return ~self.rewards_B.isnan()

    @property
    def advantages_B(self) -> Tensor:
        """The advantages, one of each row; `DataError` where a link before gave each token its own."""
        if self.advantages.dim() == 2:
            raise DataError("an earlier method gave each token an advantage of its own: this one reads one of each row")
        return self.advantages

    def need(self, name: Want) -> Tensor:
        """The sum of a statistic over each completion, (B,); `MissingStatistic` when it was not computed."""
        if name not in self.sums_B:
            raise MissingStatistic(f"the sums of {name} over each completion are missing: pass them in sums_B")
        return self.sums_B[name]

    def mean(self, name: Want) -> Tensor:
        """The mean of a statistic over each completion's tokens, (B,); 0 for an empty one."""
        return self.need(name) / self.lengths_B.clamp_min(1)

    def replace(self, **changes: Any) -> Rollouts:
        """The same rollouts with other fields."""
        return replace(self, **changes)


TermOf: TypeAlias = Literal["entropy", "ratio", "abs_log_ratio", "k3"] | Statistic
"""What a term is made of; a `Statistic` must be asked for with its gradient."""


def term_value(of: str, log_ratio: Tensor, entropy: Tensor | None, reference: Tensor | None) -> Tensor:
    """The named values that a term can be made of, also on verl's workers. Same shape, differentiable.

    entropy H; ratio r; abs_log_ratio |log r|; k3 = exp(d) - d - 1 with d = reference, a log-probability relative to the old
    policy's, - log r (the estimator of KL(policy || reference) of the same name).
    """
    if of == "entropy":
        if entropy is None:
            raise MissingStatistic("a term is made of the entropy, which was not computed")
        return entropy
    if of == "ratio":
        return log_ratio.exp()
    if of == "abs_log_ratio":
        return log_ratio.abs()
    if of == "k3":
        d = ((0.0 if reference is None else reference) - log_ratio).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
        return d.exp() - d - 1
    raise ConfigError(f"a term cannot be made of {of!r}: entropy, ratio, abs_log_ratio, k3, or a Statistic")


@dataclass(frozen=True)
class Term:
    """A differentiable term added to the loss: `coef * mean of factor * value`.

    Attributes:
        of: what is differentiated; see `term_value`. Named, not a tensor, so that a host whose loss runs elsewhere can
            evaluate it there.
        mask_BT: tokens that it is summed over.
        coef: its size and sign.
        factor_BT: factor on each token, without gradient; None means 1.
        over: what the sum is divided by: "step", all tokens of the optimizer step, in the term's mask or not; or
            "micro", the term's masked tokens of each micro-batch, whose means are then averaged.
        reference_BT: for "k3", log(p_reference / p_old), without gradient; None: the old policy.
    """

    name: str
    of: TermOf
    mask_BT: Tensor
    coef: float
    factor_BT: Tensor | None = None
    over: Literal["step", "micro"] = "step"
    reference_BT: Tensor | None = None

    def sum(self, batch: TokenBatch) -> Tensor:
        """`coef * sum of factor * value` over its mask, differentiable."""
        if isinstance(self.of, Statistic):
            value = batch.need(self.of)
        else:
            value = term_value(self.of, batch.log_ratio, batch.stats.entropy, self.reference_BT)
        if self.factor_BT is not None:
            value = value * self.factor_BT
        return self.coef * value.masked_fill(~self.mask_BT.bool(), 0).sum()

    def loss(self, batch: TokenBatch) -> Tensor:
        """The term over one micro-batch that is a whole step; 0 (with gradient 0) where the mask is empty."""
        mask = batch.mask if self.over == "step" else self.mask_BT.bool()
        return self.sum(batch) / mask.sum().clamp_min(1)


class Form:
    """A per-token loss in place of the clipped one: a frozen dataclass of numbers, so that it reaches a worker whole."""

    def loss(
        self,
        log_ratio_BT: Tensor,
        advantages_BT: Tensor,
        eps_low: float | Tensor,
        eps_high: float | Tensor,
        dual_clip: float | None,
    ) -> Tensor:
        """The loss of each token, (B, T), differentiable in `log_ratio_BT`."""
        raise NotImplementedError


Objective = Literal["ppo", "grpo", "cispo", "gspo"]

Mean: TypeAlias = Literal["sequence", "token", "fixed"]
"""A mean: over each sequence's tokens first, over the batch's tokens, or by a number that no dropped token changes."""


@dataclass(frozen=True)
class Surrogate:
    """The objective before it becomes a number. Methods return changed copies (`dataclasses.replace`).

    Attributes:
        objective: form of the per-token loss and of its mean; see `methods.objectives`.
        advantages_BT: advantage of each token.
        weight_BT: factor on each token's loss, zero or more, without gradient; None means 1.
        keep_BT: tokens that stay in the loss; None means all of the mask. A dropped token also leaves the denominator
            of the mean (as in the released Clip_B and Clip_V); a weight of 0 does not.
        stopped_BT: tokens that keep their loss but give no gradient; None means none (ERC).
        eps_low, eps_high: clip range of the importance ratio, [1 - eps_low, 1 + eps_high]; a number or (B, T).
        dual_clip: bound c on the loss of negative advantages, -A c (None: no bound).
        form: another per-token loss in place of the clipped one (CE-GPPO, ASPO).
        mean: what the loss is averaged over; None: as the objective says, over sequences for "grpo" and "gspo", else over
            tokens.
        terms: further differentiable terms.
        sums: what a link wants added up over the whole optimizer step, as 0-dimensional tensors by the names that it
            declares; 1-dimensional ones under the names of its `tops`.
    """

    objective: Objective
    advantages_BT: Tensor
    weight_BT: Tensor | None = None
    keep_BT: Tensor | None = None
    stopped_BT: Tensor | None = None
    eps_low: float | Tensor = 0.2
    eps_high: float | Tensor = 0.2
    dual_clip: float | None = None
    form: Form | None = None
    mean: Mean | None = None
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


@dataclass(frozen=True)
class Totals:
    """What one optimizer step adds up to: the sums over its tokens, and each link's own, by its place in the chain.

    Its keys are fixed before the first batch, so every rank adds up the same vector, also one that had no micro-batch.

    Attributes:
        fresh: whether the tokens were sampled anew since the last step; None where the loop does not say.
    """

    standard: Summary
    links: tuple[Mapping[str, float], ...] = ()
    fresh: bool | None = None

    def of(self, index: int) -> Summary:
        """The standard sums and those of the link at `index`, as that link reads them."""
        own = self.links[index] if index < len(self.links) else {}
        return Summary({**self.standard.values, **own})
