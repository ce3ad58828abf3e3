"""Advantages straight from binary rewards: how much correct samples count, and how much wrong ones.

    A = positive for reward 1, -negative for reward 0; rows of weight 0 leave the batch

Source: 2506.01347 (PSR, NSR, W-REINFORCE), `compute_psr_nsr_outcome_advantage` of its release.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from entrostat.control.knob import Knob
from entrostat.methods.authority import REQUIRES, AuthorityLink
from entrostat.methods.base import MethodState, outputs, rewards
from entrostat.methods.chain import Chain
from entrostat.methods.groups import check_binary
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset
from entrostat.types import Surrogate, TokenBatch

_DECOMPOSED = (
    "rows that do not count leave the loss by mask; the release trims the batch to them, and its rows to a multiple "
    "of the world size"
)
_BONUS = "the paper's runs had an entropy bonus of 0.001 as well, a default of their configuration; here there is none"


@dataclass(frozen=True)
class RewardAdvantages(AuthorityLink):
    """Replace the group-normalized advantages by weighted binary rewards, without baseline.

    Args:
        positive: weight of samples with reward 1; larger lowers the entropy.
        negative: weight of samples with reward 0; larger raises it.
    """

    positive: Knob
    negative: Knob

    card: ClassVar[Card] = Card(
        "reward_advantages",
        want=REQUIRES,
        writes=("advantages_BT", "keep_BT"),
        own_advantages="none",
        needs=("rewards",),
        knobs={"positive": "lower", "negative": "raise"},
        bounds={"positive": "[0, inf)", "negative": "[0, inf)"},
    )

    @property
    def record(self) -> Card:
        return dataclasses.replace(self.card, sums=self.authority_sums)

    def at(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Callable[[str, float], Surrogate]:
        reward_B = rewards(batch, self.name)
        scored = ~reward_B.isnan()
        check_binary(reward_B, self.name)
        levels = outputs(state)

        def changed(knob: str, output: float) -> Surrogate:
            now = {**levels, knob: output}
            advantage_B = now["positive"] * reward_B - now["negative"] * (1 - reward_B)
            # An unscored row is not a wrong one: it has no advantage, and leaves the batch.
            advantage_B = advantage_B.masked_fill(~scored, 0).to(surrogate.advantages_BT.dtype)
            advantages_BT = advantage_B.unsqueeze(1).expand_as(surrogate.advantages_BT)
            return dataclasses.replace(surrogate, advantages_BT=advantages_BT, keep_BT=advantages_BT != 0)

        return changed

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        return self.at(surrogate, batch, state)("positive", state.knobs["positive"].output)


@preset(
    Source(
        "2506.01347",
        "negative sample reinforcement; RLVR-Decomposed",
        "A = -1 for wrong samples",
        (_DECOMPOSED, _BONUS),
    ),
    effect="raises",
)
def nsr(weight: Knob = 1.0) -> Chain:
    """Train on wrong samples alone (NSR): keeps diversity, drifts up without bound.

    Args:
        weight: of wrong samples.
    """
    return one("nsr", RewardAdvantages(0.0, weight))


@preset(
    Source(
        "2506.01347",
        "positive sample reinforcement; RLVR-Decomposed",
        "A = 1 for correct samples",
        (_DECOMPOSED, _BONUS),
    ),
    effect="lowers",
)
def psr(weight: Knob = 1.0) -> Chain:
    """Train on correct samples alone (PSR): sharpens, collapses.

    Args:
        weight: of correct samples.
    """
    return one("psr", RewardAdvantages(weight, 0.0))


@preset(
    Source("2506.01347", "W-REINFORCE; RLVR-Decomposed", "weight 0.1 on correct samples, 1 on wrong ones", (_BONUS,)),
    effect="raises",
)
def w_reinforce(positive: Knob = 0.1) -> Chain:
    """Binary rewards without baseline, correct samples weighted down.

    Args:
        positive: weight of correct samples; wrong ones have 1.
    """
    return one("w_reinforce", RewardAdvantages(positive, 1.0))
