"""What a method sees: the tokens of a micro-batch, or the scored completions of whole groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from entrostat.errors import DataError, MissingStatistic
from entrostat.types.checks import check_mask, check_one_device, check_tensors
from entrostat.types.statistics import STATISTICS, Old, TokenStats, TopLogp, Want

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_LOG_RATIO = 20.0
"""Bound on |log(p / p_old)|, as in verl and Trinity-RFT: beyond it the ratio is e^20 and has no gradient."""


@dataclass(frozen=True)
class Divisors:
    """What one micro-batch adds to the denominators of the host's means over an optimizer step.

    Attributes:
        tokens, sequences, batches: for a mean over tokens, over sequences, over micro-batches.
        fixed: for a mean with a denominator that does not depend on the tokens. 0 if it is not known, or if the loss has no such
            mean; predictions then use a mean over tokens.
    """

    tokens: Tensor | float
    sequences: Tensor | float
    batches: Tensor | float = 1.0
    fixed: Tensor | float = 0.0


@dataclass(frozen=True)
class TokenBatch:
    """What a method sees of one micro-batch.

    Attributes:
        stats: statistics of the policy being trained, at the sampling temperature, (B, T). `logp` carries the gradient.
        advantages_BT: advantage of each token; a (B,) or (B, 1) advantage is broadcast by the objective's constructor.
        mask_BT: 1 for completion tokens up to and including the first EOS, 0 for padding and tool output.
        old_logp_BT: log-probability under the policy that sampled; None on-policy, where the importance ratio is 1.
        rewards_B: raw reward of each sequence; NaN if it was not scored, which is not the same as a wrong answer.
        groups_B: rows with equal numbers answer the same prompt.
        old: statistics of the policy that sampled, for methods that ask for `Old(...)`; None on-policy.
        tempered_B: factor on the temperature of `stats` with which each row was sampled; None: 1. Rows with another factor are
            trained on, but the entropy is not measured on them, since they are not samples of the policy.
        whole_step: whether this batch is the whole optimizer step, on all ranks. Quantities of scope "step" are then its own.
        ids_BT, prompts_B: the completions' token ids and each row's prompt (text or token ids), for records
            (`attribution.TokenRecorder`); no method reads them.
        host_weight_BT: the host's own factor on each token's loss, besides the method's weight, without gradient; for instance
            the
            importance correction for samples of another engine. None: 1.
        stale_B: rows whose tokens of negative advantage the host leaves out, because the policy has moved away from them
            (DeepSeek-V3.2 2512.02556); None: no row.
        divisors: the host's denominators, if they are not the number of masked tokens, of sequences that have one, and 1.
        sampled_BT: all sampled tokens, if the host has taken some of them out of the mask; the entropy is measured on all of
            them.
            None: those of the mask.
    """

    stats: TokenStats
    advantages_BT: Tensor
    mask_BT: Tensor
    old_logp_BT: Tensor | None = None
    rewards_B: Tensor | None = None
    groups_B: Tensor | None = None
    old: TokenStats | None = None
    tempered_B: Tensor | None = None
    whole_step: bool = False
    ids_BT: Tensor | None = None
    prompts_B: Sequence[Any] | None = None
    host_weight_BT: Tensor | None = None
    stale_B: Tensor | None = None
    divisors: Divisors | None = None
    sampled_BT: Tensor | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.stats, TokenStats):
            raise DataError(
                "stats must be the TokenStats that es.token_stats returns, got an object of the class "
                f"{type(self.stats).__name__}"
            )
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name.endswith(("_BT", "_B"))}
        needed = ("advantages_BT", "mask_BT")
        check_tensors(**{n: v for n, v in told.items() if n != "prompts_B" and (n in needed or v is not None)})
        shape = tuple(self.mask_BT.shape)
        if len(shape) != 2:
            raise DataError(f"mask_BT must have two dimensions (sequences, tokens), got shape {shape}")
        check_mask("mask_BT", self.mask_BT)
        self._spread(shape)
        by_token: dict[Any, Tensor | None] = {
            **{name: getattr(self.stats, name) for name in STATISTICS},
            **self.stats.extra,
            **{name: told[name] for name in ("old_logp_BT", "ids_BT", "host_weight_BT", "sampled_BT")},
        }
        for name, value in by_token.items():
            # The likeliest tokens of a position are a dimension more.
            if value is not None and tuple(value.shape)[: 2 if isinstance(name, TopLogp) else None] != shape:
                raise DataError(f"{name} must have the mask's shape {shape}, got {tuple(value.shape)}")
        check_one_device(
            mask_BT=self.mask_BT,
            advantages_BT=self.advantages_BT,
            **{str(name): value for name, value in by_token.items() if name != "ids_BT"},
        )
        by_row = {name: told[name] for name in ("rewards_B", "groups_B", "tempered_B", "stale_B")}
        for name, value in by_row.items():
            if value is not None and tuple(value.shape) != shape[:1]:
                raise DataError(f"{name} must have shape ({shape[0]},), got {tuple(value.shape)}")
        if self.prompts_B is not None and len(self.prompts_B) != shape[0]:
            raise DataError(
                f"prompts_B must hold one prompt for each of {shape[0]} sequences, got {len(self.prompts_B)}"
            )

    def _spread(self, shape: tuple[int, ...]) -> None:
        """The advantages as one of each token."""
        advantages = self.advantages_BT
        if str(advantages.dtype) == "torch.bool":
            raise DataError("advantages must be numbers, got booleans: pass them as .float()")
        if advantages.dim() == 1:
            advantages = advantages.unsqueeze(1)
        if advantages.dim() != 2 or advantages.shape[0] != shape[0] or advantages.shape[1] not in (1, shape[1]):
            raise DataError(
                f"advantages must have shape ({shape[0]},) or {shape}, got {tuple(self.advantages_BT.shape)}"
            )
        object.__setattr__(self, "advantages_BT", advantages.expand(shape))

    @cached_property
    def mask(self) -> Tensor:
        """The mask as booleans, (B, T)."""
        return self.mask_BT.bool()

    @cached_property
    def measured(self) -> Tensor:
        """The tokens that were sampled from the policy of `stats`, as booleans, (B, T)."""
        tokens = self.mask if self.sampled_BT is None else self.sampled_BT.bool()
        return tokens if self.tempered_B is None else tokens & (self.tempered_B == 1).unsqueeze(1)

    @property
    def log_ratio(self) -> Tensor:
        """log(p / p_old), with the gradient of p, within +-20, (B, T); 0 at padding, even if that holds NaN.

        Padding is masked before any exponential; after it, 0 * NaN in the backward pass would be NaN. Not cached, since a copy
        made without gradient would stay.
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
            raise MissingStatistic(
                f"{name} was not computed: pass `old` in the batch, the statistics of the policy that sampled, taken with "
                "want={'logp', *control.old_wants} in the pass that gives old log-probabilities"
            )
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
            some(self.tempered_B),
            host_weight_BT=some(self.host_weight_BT),
            stale_B=some(self.stale_B),
            sampled_BT=some(self.sampled_BT),
        )


@dataclass(frozen=True)
class Rollouts:
    """Scored completions in whole groups: what a method of the reward stage gets, and returns changed.

    Attributes:
        advantages: the host's, (B,) or (B, T); a method changes them. They become 0 for unscored rows.
        rewards_B: raw reward of each completion; NaN if it was not scored, which is not the same as a wrong answer.
        groups_B: rows with equal numbers answer the same prompt. All rows of a group are here.
        lengths_B: number of completion tokens.
        sums_B: sums over each completion's tokens of the statistics in `of_rollouts`, (B,), under the policy that sampled:
            "logp", "entropy", or a `Statistic`.
        mask_BT: completion tokens, if the host has them.
        keep_B: rows that stay in the batch; None means all. A dropped row leaves every denominator.
        step, total_steps: optimizer steps done, and of the whole run; None if the host does not know.
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
        needed = {name: getattr(self, name) for name in ("advantages", "rewards_B", "groups_B", "lengths_B")}
        given = {name: value for name in ("mask_BT", "keep_B") if (value := getattr(self, name)) is not None}
        check_tensors(**needed, **given)
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
            raise DataError(
                "an earlier method gave each token its own advantage, but this one needs one advantage per row"
            )
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
