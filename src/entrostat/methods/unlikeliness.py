"""Unlikeliness reward: of a group's correct completions, the likely ones count a little less.

R <- R (1 - beta rank / G), rank 0 for the least likely by mean log p; then group-normalized
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from entrostat.control.knob import Knob
from entrostat.methods.base import Link, MethodState
from entrostat.methods.groups import by_group, normalized
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Rollouts


@dataclass(frozen=True)
class Unlikeliness(Link):
    """R (1 - beta rank / G), where rank 0 has the least likely completion of its G, by mean log-probability; then normalized.

    Args:
        beta: share of its reward that the likeliest completion loses.
    """

    beta: Knob = 0.25

    card: ClassVar[Card] = Card(
        "unlikeliness",
        effect="raises",
        of_rollouts=("logp",),
        writes=("advantages",),
        own_advantages="group",
        knobs={"beta": "raise"},
        notes=("biases the reward", "the mean log-probability depends on the length of a completion"),
        bounds={"beta": "[0, 1]"},
        source=Source("2506.02355", "Eq. 5; AndreHe02/rewarding-unlikely-release", "beta 0.25"),
    )

    @torch.no_grad()
    def score(self, rollouts: Rollouts, state: MethodState) -> Rollouts:
        logp, beta = rollouts.mean("logp"), state.knobs["beta"].output

        def of(rows: torch.Tensor) -> torch.Tensor:
            rank = logp[rows].argsort().argsort()
            return normalized(rollouts.rewards_B[rows] * (1 - beta * rank / len(rows)))

        return by_group(rollouts, of)


unlikeliness = register(Unlikeliness)
