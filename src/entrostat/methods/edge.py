"""EDGE: confident completions have larger advantages, right or wrong: A times the mean entropy over the completion's own.

A_i <- A_i mean(H) / mean(H_i)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Rollouts

_LEAST = 1e-6  # [nats] in place of an entropy of zero


@dataclass(frozen=True)
class EdgeMasked(Link):
    """A_i * mean(H) / mean(H_i), over completion tokens alone, without gradient: what the release means to compute."""

    card: ClassVar[Card] = Card(
        "edge_masked",
        effect="either",
        of_rollouts=("entropy",),
        writes=("advantages",),
        notes=("the sign of A stays, so that confident errors are amplified too", "shown on small models alone"),
        source=Source(
            "2507.21848",
            "entropy-driven advantage, Eq. 7; ZhangXJ199/EDGE-GRPO",
            "no settings",
            (
                "entropies are of completion tokens, without gradient; the release averages padding too and does not detach them",
            ),
        ),
    )

    @torch.no_grad()
    def score(self, rollouts: Rollouts, state: MethodState) -> Rollouts:
        own = rollouts.mean("entropy").clamp_min(_LEAST)
        present = rollouts.lengths_B > 0
        overall = rollouts.mean("entropy")[present].mean() if present.any() else own.new_zeros(())
        a = rollouts.advantages
        factor = (overall / own).to(a.dtype)
        return rollouts.replace(advantages=a * (factor if a.dim() == 1 else factor.unsqueeze(1)))


edge_masked = register(EdgeMasked)
