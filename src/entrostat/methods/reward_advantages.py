"""Advantages straight from binary rewards: how much correct samples count, and how much wrong ones.

    A = positive for reward 1, -negative for reward 0; rows of weight 0 leave the batch

Source: 2506.01347 (PSR, NSR, W-REINFORCE), `compute_psr_nsr_outcome_advantage` of its release.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from entrostat.control.base import Action
from entrostat.control.effect import Effect
from entrostat.control.knob import Knob, OpenLoop, is_feedback
from entrostat.errors import DataError
from entrostat.methods.authority import AuthorityLink, authority_sums
from entrostat.methods.base import MethodState, rewards
from entrostat.types import Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class RewardAdvantages(AuthorityLink):
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

    @property
    def _moved(self) -> str:
        """The knob that a measurement moves, if any: the range of the other is no command."""
        return next((name for name, own in self.knobs.items() if is_feedback(own)), "positive")

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        reward_B = rewards(batch, self.name)
        other = reward_B[(reward_B != 0) & (reward_B != 1)]
        if other.numel():
            raise DataError(f"{self.name} needs rewards of 0 or 1, got {other[0].item()}: threshold the reward first")
        levels = {knob: own.output for knob, own in state.knobs.items()}

        def advantages(**changed: float) -> Tensor:
            now = levels | changed
            advantage_B = now["positive"] * reward_B - now["negative"] * (1 - reward_B)
            return advantage_B.to(surrogate.advantages_BT.dtype).unsqueeze(1).expand_as(surrogate.advantages_BT)

        knob = self._moved
        ones = dataclasses.replace(surrogate, advantages_BT=torch.ones_like(surrogate.advantages_BT))
        sums = authority_sums(ones, batch, lambda u: advantages(**{knob: u}), self.knobs[knob], levels[knob])
        untouched = authority_sums(surrogate, batch, lambda _: None, OpenLoop(1.0), 1.0)
        changed = advantages()
        return dataclasses.replace(
            surrogate,
            advantages_BT=changed,
            keep_BT=changed != 0,
            sums={**surrogate.sums, **sums, "authority/none": untouched["authority/none"]},
        )

    def effect(self, knob: str, summary: Summary) -> Effect | None:
        return super().effect(knob, summary) if knob == self._moved else None
