"""The objective as a record: methods change it, and a host evaluates it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from entrostat.errors import ConfigError, MissingStatistic
from entrostat.types.batches import LARGEST_LOG_RATIO, TokenBatch
from entrostat.types.statistics import Statistic

if TYPE_CHECKING:
    from torch import Tensor

TermOf: TypeAlias = Literal["entropy", "ratio", "abs_log_ratio", "k3"] | Statistic
"""What a term is made of; a `Statistic` must be asked for with its gradient."""

TERMS = ("entropy", "ratio", "abs_log_ratio", "k3")
"""The values with a name that a term can be made of; see `term_value`."""


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
    raise ConfigError(f"a term cannot be made of {of!r}: {', '.join(TERMS)}, or a Statistic")


@dataclass(frozen=True)
class Term:
    """A differentiable term added to the loss: `coef * mean of factor * value`.

    Attributes:
        of: what is differentiated, by name; see `term_value`. A name and not a tensor, so that workers of a host can evaluate it.
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
    """A per-token loss in place of the clipped one: a frozen dataclass of numbers, so that it can be sent to workers."""

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

Mean: TypeAlias = Literal["sequence", "token", "batch", "fixed"]
"""How a loss is averaged: within each sequence first ("sequence"), over the step's tokens ("token"), within each micro-batch
first ("batch"), or with a denominator that dropped tokens do not change ("fixed")."""


@dataclass(frozen=True)
class Surrogate:
    """The objective as a record, before it is evaluated. Methods return changed copies (`dataclasses.replace`).

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
        mean: how the loss is averaged; None: over sequences for "grpo" and "gspo", else over tokens.
        terms: further differentiable terms.
        sums: numbers that a method wants added up over the optimizer step: 0-dimensional tensors by the names that it declares,
            and 1-dimensional ones under the names of its `tops`.
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
