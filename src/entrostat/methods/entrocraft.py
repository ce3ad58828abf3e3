"""Entrocraft: above a band correct samples alone, below it wrong ones alone, inside it the host's advantages.

H > upper: A = max(R, 0);   H < lower: A = min(R, 0);   else A
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from entrostat.control.patterns import entrocraft_band
from entrostat.control.targets import Band, aim
from entrostat.errors import ConfigError, DataError
from entrostat.methods.base import Link, MethodState
from entrostat.methods.chain import Chain
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset
from entrostat.types import Rollouts, Summary


@dataclass(frozen=True)
class Bands(Link):
    """A = max(R, 0) above the band, min(R, 0) below it, with rewards R in {-1, 1}; inside it A stays as it is.

    Args:
        band: two edges [nats per token], each a number or a schedule.
    """

    band: Band

    card: ClassVar[Card] = Card(
        "entrocraft",
        writes=("advantages",),
        notes=(
            "throws samples away outside the band; a narrow band chatters between its sides",
            "the host's settings of advantages (scaling, a KL penalty inside the reward) act inside the band alone",
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.band, Band):
            raise ConfigError(f"band must be a Band of two edges, got {self.band!r}")

    @torch.no_grad()
    def score(self, rollouts: Rollouts, state: MethodState) -> Rollouts:
        error = state.memory.get("error", 0.0)
        reward = rollouts.rewards_B
        other = reward[rollouts.scored & (reward != 0) & (reward.abs() != 1)]
        if other.numel():
            raise DataError(f"entrocraft needs rewards of 0 or 1, or of -1 or 1; got {other[0].item()}")
        signed = torch.where(reward == 0, -1.0, reward).nan_to_num(0.0)
        if error == 0:
            return rollouts
        advantages = signed.clamp(min=0) if error > 0 else signed.clamp(max=0)
        return rollouts.replace(advantages=advantages.to(rollouts.advantages.dtype))

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        step = int(memory.get("step", 0))
        goal = aim(self.band, step, summary.mean("entropy"), memory.get("initial", 0.0))
        return {"step": step + 1, "initial": goal.initial, "error": goal.error}


@preset(
    Source(
        "2604.26326",
        "Algorithm 1; lblaoke/entrocraft",
        "band from (0.6, 0.7) to (0.4, 0.5) in a straight line, its bounds for Qwen3-4B",
        ("rewards of 0 and 1 are read as -1 and 1, which the release expects",),
    ),
    effect="holds",
    replaces={"band": ("steps",)},
)
def entrocraft(steps: int = 100, band: Band | None = None) -> Chain:
    """Keep the entropy within an annealed band by choosing which samples are trained on.

    Args:
        steps: optimizer steps over which the edges move; after them they stay.
        band: another band in place of the paper's; see `entrocraft_band`.
    """
    return one("entrocraft", Bands(entrocraft_band(steps) if band is None else band))
