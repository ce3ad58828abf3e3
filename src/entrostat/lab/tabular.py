"""Exact tabular softmax policies: the smallest setting in which policy entropy can be worked out to the last digit.

S independent states, V arms each, one logit per state and arm, so that a step at the logits is the whole update. The
theory is checked against these policies, and controllers can be tried on them in milliseconds. fp64 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entrostat.errors import DataError
from entrostat.stats.first_order import policy_entropy


@dataclass(frozen=True)
class TabularPolicy:
    """One softmax policy per state.

    Attributes:
        logits_SV: (S, V), converted to fp64. One state may be given as (V,).
    """

    logits_SV: Tensor

    def __post_init__(self) -> None:
        logits = self.logits_SV.detach().to(torch.float64)
        logits = logits.unsqueeze(0) if logits.dim() == 1 else logits
        if logits.dim() != 2:
            raise DataError(f"logits must have shape (S, V) or (V,), got {tuple(logits.shape)}")
        object.__setattr__(self, "logits_SV", logits)

    @property
    def probs_SV(self) -> Tensor:
        """softmax(logits)."""
        return torch.softmax(self.logits_SV, dim=-1)

    @property
    def entropy_S(self) -> Tensor:
        """Exact entropy of each state [nats]."""
        return policy_entropy(self.logits_SV)

    def moved(self, nudge_SV: Tensor) -> TabularPolicy:
        """The policy whose logits have moved by `nudge_SV`."""
        return TabularPolicy(self.logits_SV + nudge_SV)

    def expected_step(self, rewards_SV: Tensor, lr: float) -> TabularPolicy:
        """One exact step of gradient ascent on the expected reward: dz_j = lr * p_j * (r_j - sum_i p_i r_i).

        It is the mean of `grpo_step` over actions with advantages r - E[r], that is with an infinite group.
        """
        p = self.probs_SV
        rewards = rewards_SV.to(p.dtype)
        return self.moved(lr * p * (rewards - (p * rewards).sum(-1, keepdim=True)))

    def sample(self, group: int, generator: torch.Generator) -> Tensor:
        """`group` actions of each state, (S, group)."""
        return torch.multinomial(self.probs_SV, group, replacement=True, generator=generator)

    def grpo_step(
        self, actions_SG: Tensor, advantages_SG: Tensor, lr: float, weight_SG: Tensor | None = None
    ) -> TabularPolicy:
        """One on-policy GRPO step on sampled actions: dz = lr * mean_g w_g A_g (onehot(action_g) - p).

        Args:
            actions_SG: sampled arms; advantages_SG: their advantages, see `group_advantages`.
            weight_SG: factor on each action's loss, as entropy-control methods set it; None means 1.
        """
        if actions_SG.shape != advantages_SG.shape:
            raise DataError(f"advantages must have shape {tuple(actions_SG.shape)}, got {tuple(advantages_SG.shape)}")
        scale = advantages_SG.to(torch.float64) * (1.0 if weight_SG is None else weight_SG) * (lr / actions_SG.shape[1])
        nudge = -scale.sum(1, keepdim=True) * self.probs_SV
        return self.moved(nudge.scatter_add(1, actions_SG, scale))


def group_advantages(rewards_SG: Tensor, eps: float = 1e-4) -> Tensor:
    """(r - mean) / (std + eps) over each group, (S, G); 0 where all rewards of a group agree.

    The standard deviation is the sample one (G - 1), as TRL computes it.

    Raises:
        DataError: fewer than two samples in a group.

    Source: DeepSeekMath, 2402.03300, section 4.1.
    """
    if rewards_SG.dim() != 2 or rewards_SG.shape[1] < 2:
        raise DataError(f"rewards must have shape (S, G) with G of at least 2, got {tuple(rewards_SG.shape)}")
    rewards = rewards_SG.to(torch.float64)
    centered = rewards - rewards.mean(1, keepdim=True)
    return centered / (rewards.std(1, keepdim=True) + eps)
