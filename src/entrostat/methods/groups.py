"""Numbers over the scored completions of each prompt, as every row of it reads them: what the reward stage is made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entrostat.errors import DataError
from entrostat.types import Rollouts


def by_group(rollouts: Rollouts, values: Callable[[Tensor], Tensor]) -> Rollouts:
    """The rollouts with `values(rows)` as the advantages of each group's rows, (B,); 0 for unscored rows.

    Args:
        values: takes the indices of a group's scored rows, (n,), and returns one number of each, (n,).
    """
    found = torch.zeros_like(rollouts.rewards_B)
    for group in rollouts.groups_B.unique():
        rows = ((rollouts.groups_B == group) & rollouts.scored).nonzero().squeeze(1)
        if rows.numel():
            found[rows] = values(rows).to(found.dtype)
    return rollouts.replace(advantages=found.to(rollouts.advantages.dtype))


def normalized(rewards: Tensor) -> Tensor:
    """Rewards of one group less their mean, over their standard deviation, (n,); as TRL and verl have it."""
    spread = rewards.std() if rewards.numel() > 1 else rewards.new_zeros(())
    return (rewards - rewards.mean()) / (spread + 1e-4)


def check_binary(rewards_B: Tensor, owner: str) -> None:
    """`DataError` names a reward that is neither 0 nor 1; unscored rows, NaN, may be there."""
    other = rewards_B[~rewards_B.isnan() & (rewards_B != 0) & (rewards_B != 1)]
    if other.numel():
        raise DataError(f"{owner} needs rewards of 0 or 1, got {other[0].item()}: threshold the reward first")
