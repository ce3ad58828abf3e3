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

import torch
from torch import Tensor

from entrostat.core.control import EntropyControl
from entrostat.errors import HostError
from entrostat.methods import Chain
from entrostat.methods.denominators import kept_advantages, token_factor
from entrostat.stats import entropy_metrics, summarize
from entrostat.types import Divisors, Mean, Rollouts, Statistic, Surrogate, Term, TokenBatch


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
    return method.adds_terms or bool({"eps_low", "eps_high", "dual_clip"} & method.writes)


def control_batch(
    control: EntropyControl, batch: TokenBatch, aggregation: str, clip: tuple[float, float, float]
) -> Update:
    """One controller step on the global batch, and what it makes of that batch.

    Args:
        control: is stepped.
        batch: statistics of the policy before the update, advantages as verl computed them. `old_logp_BT` is None.
        aggregation: the `loss_agg_mode` of verl's policy loss: a dropped token also leaves the denominator of a mean over tokens.
        clip: verl's own (clip_ratio_low, clip_ratio_high, clip_ratio_c).
    """
    batch = dataclasses.replace(batch, stats=batch.stats.detach())
    low, high, dual = clip
    plain = Surrogate("ppo", batch.advantages_BT, eps_low=low, eps_high=high, dual_clip=dual, mean=mean_of(aggregation))
    changed, metrics = control.step_on(plain, batch)
    weight = token_factor(changed, batch)
    advantages = changed.advantages_BT if weight is None else changed.advantages_BT * weight
    references = [term.reference_BT for term in changed.terms if term.of == "k3" and term.reference_BT is not None]
    if len(references) > 1:
        raise HostError(
            "two added terms have a reference of their own, and verl's workers can get only one: leave one out"
        )
    ends = _clip(changed)
    return Update(
        advantages.masked_fill(~batch.mask, 0).detach(),
        ends if ends != _clip(plain) else None,
        term_factors(changed.terms, batch),
        references[0] if references else None,
        metrics,
    )


def measure_batch(batch: TokenBatch) -> dict[str, float]:
    """The metrics of a batch that the actor is not trained on: its entropy, and nothing that a controller does or learns."""
    return {"entropy_control/no_update": 1.0} | entropy_metrics(summarize(batch).reduced())


def term_factors(terms: Sequence[Term], batch: TokenBatch) -> dict[str, Tensor]:
    """What the terms are made of -> its factor on each token, (B, T): their sum over the tokens is the terms' mean times them.

    The workers multiply by the importance ratio and the entropy of their own pass.
    """
    factors: dict[str, Tensor] = {}
    tokens = batch.mask.sum() if batch.divisors is None else batch.divisors.tokens
    for term in terms:
        if isinstance(term.of, Statistic):
            raise HostError(f"a term made of {term.of} cannot be computed by verl's workers")
        mask = term.mask_BT.bool() & batch.mask
        factor = term.coef * mask.to(batch.advantages_BT.dtype)
        if term.factor_BT is not None:
            factor = factor * term.factor_BT.masked_fill(~mask, 0)
        if term.over == "micro":  # of the batch, which is the step
            factor = factor * tokens / mask.sum().clamp_min(1)
        factors[term.of] = factors[term.of] + factor if term.of in factors else factor
    return factors


def mean_of(aggregation: str) -> Mean:
    """What verl's `loss_agg_mode` averages over; sums over tokens have no denominator that a dropped token could leave."""
    means: dict[str, Mean] = {"token-mean": "token", "seq-mean-token-mean": "sequence"}
    return means.get(aggregation, "fixed")


def divisors_of(
    aggregation: str, mask_BT: Tensor, mini_batch: int, scale: float | None = None, sampled_BT: Tensor | None = None
) -> Divisors:
    """What verl's `loss_agg_mode` divides by, over the global batch: the mean of its mini-batches' losses divides by these.

    Its means over sequences count the rows without a token that fill the batch up. Added terms are a mean over tokens beside
    all of them.

    Args:
        mini_batch: rows of a mini-batch, of which the batch has a whole number.
        scale: verl's `loss_scale_factor`; None: the longest response, which verl takes of each micro-batch, and this of the
            batch.
        sampled_BT: the tokens that verl counts, where it has left some of them out of the mask since; None: those of the mask.
    """
    rows = float(len(mask_BT))
    fixed = {
        "token-sum": rows / mini_batch,
        "seq-mean-token-sum": rows,
        "seq-mean-token-sum-norm": rows * (scale or mask_BT.shape[1]),
    }
    tokens = mask_BT if sampled_BT is None else sampled_BT
    return Divisors(tokens.sum().clamp(min=1), rows, fixed=fixed.get(aggregation, 0.0))


@dataclass(frozen=True)
class Sessions:
    """Which rows of verl's batch are one completion, and which completions answer one prompt.

    Attributes:
        session_B: of each row, the number of its session. last_S: the last row of each session, which has its reward and gives
            its advantage, as in verl's GRPO. prompt_S: of each session, the number of its prompt.
    """

    session_B: Tensor
    last_S: Tensor
    prompt_S: Tensor

    @classmethod
    def of(cls, keys: Sequence[str]) -> Sessions:
        """Of verl's row names `{prompt}_{session}_{row}`."""
        split = [key.rsplit("_", 2) for key in keys]
        sessions = {each: i for i, each in enumerate(dict.fromkeys((p, s) for p, s, _ in split))}
        prompts = {each: i for i, each in enumerate(dict.fromkeys(p for p, _ in sessions))}
        session_B = [sessions[p, s] for p, s, _ in split]
        last = [-1] * len(sessions)
        for position, (session, (_, _, row)) in enumerate(zip(session_B, split, strict=True)):
            if last[session] < 0 or int(row) > int(split[last[session]][2]):
                last[session] = position
        return cls(torch.tensor(session_B), torch.tensor(last), torch.tensor([prompts[p] for p, _ in sessions]))

    @property
    def prompt_B(self) -> Tensor:
        """The number of each row's prompt, (B,)."""
        return self.prompt_S[self.session_B]

    def sums(self, value_B: Tensor) -> Tensor:
        """Sums over each session's rows, (S,)."""
        return value_B.new_zeros(len(self.last_S)).index_add_(0, self.session_B, value_B)


def score_batch(
    control: EntropyControl,
    batch: TokenBatch,
    sessions: Sessions,
    aggregation: str,
    steps: tuple[int, int | None] = (0, None),
) -> TokenBatch:
    """The reward stage on the global batch: its advantages as the method changes them.

    Args:
        batch: with the raw reward of each row, (B,).
        steps: optimizer steps done, and of the whole run.

    Raises:
        HostError: verl's estimator gives the tokens of a row different advantages, which are not of a whole completion.
    """
    assert batch.rewards_B is not None
    mask, sampled = batch.mask, batch.measured  # a completion is scored as a whole, whatever of it is trained on
    first = batch.advantages_BT.gather(1, mask.int().argmax(1, keepdim=True)).squeeze(1)
    if not torch.equal(batch.advantages_BT * mask, first.unsqueeze(1) * mask):
        raise HostError(one_advantage(control.method, "algorithm.adv_estimator"))
    last_S, lengths_S = sessions.last_S, sessions.sums(sampled.sum(1))
    real_S = lengths_S > 0  # verl fills batches up with rows without a token
    single = len(last_S) == len(mask)
    changed = control.score(
        Rollouts(
            advantages=first[last_S][real_S],
            rewards_B=batch.rewards_B[last_S][real_S],
            groups_B=sessions.prompt_S[real_S],
            lengths_B=lengths_S[real_S],
            sums_B={
                name: sessions.sums((batch.stats.need(name) * sampled).sum(1))[real_S]
                for name in sorted(control.method.of_rollouts, key=str)
            },
            mask_BT=sampled[last_S][real_S] if single else None,
            step=steps[0],
            total_steps=steps[1],
        )
    )
    trained = changed.replace(lengths_B=sessions.sums(mask.sum(1))[real_S])
    advantages = kept_advantages(trained, mean_of(aggregation))
    advantages = advantages.unsqueeze(1) if advantages.dim() == 1 else advantages
    every_S = advantages.new_zeros(len(last_S), advantages.shape[1])
    every_S[real_S] = advantages
    return dataclasses.replace(batch, advantages_BT=(every_S[sessions.session_B] * mask).to(batch.advantages_BT.dtype))


def one_advantage(method: Chain, setting: str) -> str:
    """Why a method of the reward stage does not work beside this setting of verl's estimator, and the way out."""
    return (
        f"{method.name!r} acts on one advantage of each completion, and {setting} gives each token its own: take "
        "algorithm.adv_estimator=grpo or another one that compares whole completions"
    )


def _clip(changed: Surrogate) -> tuple[float, float, float]:
    ends = changed.eps_low, changed.eps_high, math.inf if changed.dual_clip is None else changed.dual_clip
    if any(isinstance(end, Tensor) for end in ends):
        raise HostError("a clip range per token does not reach verl's policy loss, which takes numbers")
    # verl multiplies by them: times an advantage of 0, infinity would be NaN.
    low, high, dual = (min(float(end), 1e9) for end in ends)
    return low, high, dual
