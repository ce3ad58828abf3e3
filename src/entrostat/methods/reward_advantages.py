"""Advantages straight from binary rewards: how much correct samples count, and how much wrong ones.

    A = positive for reward 1, -negative for reward 0; rows of weight 0 leave the batch

Source: 2506.01347 (PSR, NSR, W-REINFORCE), `compute_psr_nsr_outcome_advantage` of its release.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from entrostat.control.base import Action
from entrostat.control.knob import Knob
from entrostat.errors import DataError
from entrostat.methods.base import Link, MethodState, rewards
from entrostat.types import Surrogate, TokenBatch


@dataclass(frozen=True)
class RewardAdvantages(Link):
    """Replace the group-normalised advantages by weighted binary rewards, without baseline.

    Args:
        positive: weight of samples with reward 1; larger lowers the entropy.
        negative: weight of samples with reward 0; larger raises it.
    """

    positive: Knob
    negative: Knob

    name: ClassVar[str] = "reward_advantages"
    actions: ClassVar[Mapping[str, Action]] = {"positive": "lower", "negative": "raise"}
    writes: ClassVar[frozenset[str]] = frozenset({"advantages_BT", "keep_BT"})
    needs_rewards: ClassVar[bool] = True

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        reward_B = rewards(batch, self.name)
        other = reward_B[(reward_B != 0) & (reward_B != 1)]
        if other.numel():
            raise DataError(f"{self.name} needs rewards of 0 or 1, got {other[0].item()}: threshold the reward first")
        positive, negative = (state.knobs[k].output for k in ("positive", "negative"))
        advantage_B = (positive * reward_B - negative * (1 - reward_B)).to(surrogate.advantages_BT.dtype)
        keep_B = advantage_B != 0
        return dataclasses.replace(
            surrogate,
            advantages_BT=advantage_B.unsqueeze(1).expand_as(surrogate.advantages_BT),
            keep_BT=keep_B.unsqueeze(1).expand_as(batch.mask),
        )
