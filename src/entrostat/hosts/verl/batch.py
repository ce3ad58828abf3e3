"""The driver's arithmetic: one global batch in, its new advantages and the loss's extra terms out. Plain tensors, no verl.

Weights and dropped tokens become factors on the advantages, which every policy loss of verl multiplies. What a factor
cannot express (a clip range, a term that is not clipped) is handed to the workers' loss in a form that knows nothing of
methods: two or three numbers, and per token a factor on each of the values that a term can be made of.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from entrostat.core.control import EntropyControl
from entrostat.errors import HostError
from entrostat.methods import Chain
from entrostat.types import Statistic, Surrogate, Term, TokenBatch

DUAL_CLIP = 3.0
"""verl's default `clip_ratio_c`."""


@dataclass(frozen=True)
class Update:
    """What a controlled batch is trained on.

    Attributes:
        advantages_BT: with weights and dropped tokens in them; 0 where the mask is.
        clip: (eps_low, eps_high, dual clip) where the method sets them.
        terms: what a term is made of (`types.term_value`) -> factor on it, (B, T): the loss gains their sum / tokens.
        reference_BT: of a "k3" term.
        metrics: of the controller step.
    """

    advantages_BT: Tensor
    clip: tuple[float, float, float] | None
    terms: Mapping[str, Tensor]
    reference_BT: Tensor | None
    metrics: dict[str, float]


def needs_loss(method: Chain) -> bool:
    """Whether the method changes more than advantages, so that the workers' loss must be ours."""
    return adds_terms(method) or bool({"eps_low", "eps_high", "dual_clip"} & method.writes)


def adds_terms(method: Chain) -> bool:
    """Whether the method adds terms to the loss."""
    return any(name.startswith("terms/") for name in method.writes)


def control_batch(control: EntropyControl, batch: TokenBatch, aggregation: str, clip: tuple[float, float]) -> Update:
    """One controller step on the global batch, and what it makes of that batch.

    Args:
        control: is stepped.
        batch: statistics of the policy before the update, advantages as verl computed them. `old_logp_BT` is None.
        aggregation: verl's `loss_agg_mode`: a dropped token also leaves the denominator of a mean over tokens.
        clip: verl's own (clip_ratio_low, clip_ratio_high).
    """
    batch = dataclasses.replace(batch, stats=batch.stats.detach())
    plain = Surrogate("ppo", batch.advantages_BT, eps_low=clip[0], eps_high=clip[1], dual_clip=DUAL_CLIP)
    changed, metrics = control.step_on(plain, batch)
    weight = token_weight(changed, batch, aggregation)
    advantages = changed.advantages_BT if weight is None else changed.advantages_BT * weight
    references = [term.reference_BT for term in changed.terms if term.of == "k3" and term.reference_BT is not None]
    if len(references) > 1:
        raise HostError(
            "two terms are measured from references of their own, of which verl's workers get one: leave one out"
        )
    ends = _clip(changed)
    return Update(
        advantages.masked_fill(~batch.mask, 0).detach(),
        ends if ends != _clip(plain) else None,
        term_factors(changed.terms, batch),
        references[0] if references else None,
        metrics,
    )


def token_weight(changed: Surrogate, batch: TokenBatch, aggregation: str) -> Tensor | None:
    """Weights and dropped tokens as one factor per token, (B, T); None where nothing is changed.

    A dropped token also leaves the denominator of a mean over tokens. verl's engines divide by the number of tokens that
    were sampled, so the kept tokens are scaled up instead: over the batch for "token-mean", within each sequence for
    "seq-mean-token-mean". Sums over tokens have no such denominator. The same holds in the TRL adapter.
    """
    if changed.keep_BT is None:
        return changed.weight_BT
    kept = batch.mask & changed.keep_BT
    weight = kept.to(changed.advantages_BT.dtype)
    if aggregation == "token-mean":
        weight = weight * batch.mask.sum() / kept.sum().clamp_min(1)
    elif aggregation == "seq-mean-token-mean":
        weight = weight * batch.mask.sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp_min(1)
    return weight if changed.weight_BT is None else weight * changed.weight_BT


def term_factors(terms: Sequence[Term], batch: TokenBatch) -> dict[str, Tensor]:
    """What the terms are made of -> its factor on each token, (B, T): their sum over the tokens is the terms' mean times them.

    The workers multiply by the importance ratio and the entropy of their own pass.
    """
    factors: dict[str, Tensor] = {}
    for term in terms:
        if isinstance(term.of, Statistic):
            raise HostError(f"a term made of {term.of} cannot be computed by verl's workers")
        mask = term.mask_BT.bool() & batch.mask
        factor = term.coef * mask.to(batch.advantages_BT.dtype)
        if term.factor_BT is not None:
            factor = factor * term.factor_BT.masked_fill(~mask, 0)
        if term.over == "micro":  # of the batch, which is the step
            factor = factor * batch.mask.sum() / mask.sum().clamp_min(1)
        factors[term.of] = factors[term.of] + factor if term.of in factors else factor
    return factors


def session_rewards(scores_BT: Tensor, keys: Sequence[str]) -> Tensor:
    """The reward of each row, (B,): that of the last row of its session, as verl's GRPO takes its advantage.

    Args:
        scores_BT: reward of each token, as the reward loop wrote it.
        keys: verl's row names `{prompt}_{session}_{row}`.
    """
    own = scores_BT.sum(1)
    last: dict[str, tuple[int, int]] = {}
    sessions = []
    for position, key in enumerate(keys):
        session, _, row = key.rpartition("_")
        sessions.append(session)
        last[session] = max(last.get(session, (-1, -1)), (int(row), position))
    return own[[last[session][1] for session in sessions]]


def _clip(changed: Surrogate) -> tuple[float, float, float]:
    ends = changed.eps_low, changed.eps_high, math.inf if changed.dual_clip is None else changed.dual_clip
    if any(isinstance(end, Tensor) for end in ends):
        raise HostError("a clip range per token does not reach verl's policy loss, which takes numbers")
    # verl multiplies by them: times an advantage of 0, infinity would be NaN.
    low, high, dual = (min(float(end), 1e9) for end in ends)
    return low, high, dual
