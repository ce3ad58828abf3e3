"""The driver's arithmetic: one global batch in, its new advantages and the loss's extra terms out. Plain tensors, no verl.

Weights and dropped tokens become factors on the advantages, which every policy loss of verl multiplies. What a factor
cannot express (a clip range, a term that is not clipped) is handed to the workers' loss in a form that knows nothing of
methods: a pair of numbers, and per token the derivative of the terms to the importance ratio and to the entropy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from entrostat.core.control import EntropyControl
from entrostat.errors import HostError
from entrostat.methods import Chain
from entrostat.types import Surrogate, Term, TokenBatch


@dataclass(frozen=True)
class Update:
    """What a controlled batch is trained on.

    Attributes:
        advantages_BT: with weights and dropped tokens in them; 0 where the mask is.
        clip: (eps_low, eps_high) where the method sets them.
        ratio_term_BT, entropy_term_BT: the loss gains sum(ratio_term * r + entropy_term * H) / tokens; None where no
            term needs it.
        metrics: of the controller step.
    """

    advantages_BT: Tensor
    clip: tuple[float, float] | None
    ratio_term_BT: Tensor | None
    entropy_term_BT: Tensor | None
    metrics: dict[str, float]


def needs_loss(method: Chain) -> bool:
    """Whether the method changes more than advantages, so that the workers' loss must be ours."""
    return adds_terms(method) or bool({"eps_low", "eps_high"} & _writes(method))


def adds_terms(method: Chain) -> bool:
    """Whether the method adds terms to the loss."""
    return any(name.startswith("terms/") for name in _writes(method))


def _writes(method: Chain) -> frozenset[str]:
    return frozenset().union(*(link.writes for link in method.links))


def control_batch(control: EntropyControl, batch: TokenBatch, aggregation: str, clip: tuple[float, float]) -> Update:
    """One controller step on the global batch, and what it makes of that batch.

    Args:
        control: is stepped.
        batch: statistics of the policy before the update, advantages as verl computed them. `old_logp_BT` is None.
        aggregation: verl's `loss_agg_mode`: a dropped token also leaves the denominator of a mean over tokens.
        clip: verl's own (clip_ratio_low, clip_ratio_high).
    """
    method = control.method
    if adds_terms(method):
        batch = _with_leaves(batch)
    plain = Surrogate("ppo", batch.advantages_BT, eps_low=clip[0], eps_high=clip[1])
    changed, metrics = control.step_on(plain, batch)
    weight = token_weight(changed, batch, aggregation)
    advantages = changed.advantages_BT if weight is None else changed.advantages_BT * weight
    ratio_term, entropy_term = term_derivatives(changed.terms, batch) if changed.terms else (None, None)
    ends = _clip(changed)
    return Update(
        advantages.masked_fill(~batch.mask, 0).detach(),
        ends if ends != clip else None,
        ratio_term,
        entropy_term,
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


def term_derivatives(terms: Sequence[Term], batch: TokenBatch) -> tuple[Tensor | None, Tensor | None]:
    """The terms' derivatives to each token's importance ratio and entropy, times the number of tokens.

    Taken at the policy before the update, where the ratio is 1 and d/d ratio = d/d logp. Exact for terms that are linear
    in ratio and entropy, as all of the methods here are: the workers multiply by the ratio and entropy of their own pass.
    """
    logp, entropy = batch.stats.need("logp"), batch.stats.need("entropy")
    total = torch.stack([term.loss() for term in terms]).sum() * batch.mask.sum()
    to_ratio, to_entropy = torch.autograd.grad(total, (logp, entropy), allow_unused=True)
    return to_ratio, to_entropy


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


def _with_leaves(batch: TokenBatch) -> TokenBatch:
    """The same batch, with log-probabilities and entropies that a term can be differentiated to."""
    stats = batch.stats.detach()
    leaves = {n: stats.need(n).requires_grad_() for n in ("logp", "entropy")}
    return dataclasses.replace(
        batch, stats=dataclasses.replace(stats, **leaves), old_logp_BT=stats.need("logp").detach()
    )


def _clip(changed: Surrogate) -> tuple[float, float]:
    ends = changed.eps_low, changed.eps_high
    if any(isinstance(end, Tensor) for end in ends):
        raise HostError("a clip range per token does not reach verl's policy loss, which takes two numbers")
    return float(ends[0]), float(ends[1])
