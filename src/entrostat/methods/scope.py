"""SCOPE: a few groups are sampled hotter or cooler, and their successes pull the policy's entropy to its target.

T = clip(1 + H0 - H, low, high);   J = J_GRPO + alpha E_{o ~ p_T}[ 1[R >= threshold] mean_t min(r, clip(r)) ]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Rollouts, Summary


@dataclass(frozen=True)
class Scope(Link):
    """Sample a share of the groups at T, and train on their successes alone, with an advantage of 1.

    They are scored at the temperature of all others. Learning what a hotter policy samples raises the entropy, a cooler one
    lowers it.

    Args:
        target: H0 [nats per token].
        alpha: share of the groups that are sampled at T, at least one and never all, and the weight of their objective.
        limits: of T, relative to the host's temperature.
        threshold: rewards from it on are successes.
    """

    target: float = 0.5
    alpha: float = 1 / 64
    limits: tuple[float, float] = (0.8, 1.2)
    threshold: float = 1.0

    card: ClassVar[Card] = Card(
        "scope",
        effect="holds",
        writes=("group_temperatures", "advantages"),
        bounds={"target": "(0, inf)", "alpha": "(0, 1)"},
        goals=("target",),
        sums=("successes", "tempered"),
        metrics={
            "temperature": "T of the next step",
            "success_share": "share of their completions that are successes; 0 for long: `threshold` is never reached",
        },
        notes=(
            "the formula is of a loss that averages over sequences (`grpo`); under a mean over tokens long successes count more",
            "the host's settings of advantages (scaling, a KL penalty inside the reward) do not act on the groups at T",
            "with fewer than 1 / alpha groups in a batch, one group is a larger share of the samples; its weight stays alpha",
        ),
        source=Source(
            "2510.08141",
            "Eq. 11; axolotl's scope_rl (5fe7d50) has the same form and constants",
            "target 0.5, alpha 1/64, T within 0.8 and 1.2, threshold 1",
            (
                "the groups at T are some of the batch's own, where the paper samples their prompts once more",
                "the entropy is measured on the other groups",
                "597358816/AEPO, an earlier release, knows two temperatures and puts successes in the place of other samples",
            ),
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.limits
        if not 0 < low <= 1 <= high < float("inf"):
            raise ConfigError(f"limits must be temperatures around 1, (lowest, highest), got {self.limits!r}")

    def _count(self, groups: int) -> int:
        """How many groups are sampled at T: the last ones."""
        return min(max(round(self.alpha * groups), 1), groups - 1) if groups else 0

    def group_temperatures(self, groups: int, state: MethodState) -> Sequence[float]:
        count = self._count(groups)
        return (1.0,) * (groups - count) + (state.memory.get("temperature", 1.0),) * count

    @torch.no_grad()
    def score(self, rollouts: Rollouts, state: MethodState) -> Rollouts:
        groups, place_B = rollouts.groups_B.unique(return_inverse=True)
        tempered_B = place_B >= len(groups) - self._count(len(groups))
        success_B = tempered_B & (rollouts.rewards_B >= self.threshold)
        a, rows, count = rollouts.advantages, len(place_B), tempered_B.sum()
        # Under the host's mean over all rows: the mean over the others, and alpha times the mean over these.
        own_B = success_B.to(a.dtype) * (self.alpha * rows / count.clamp_min(1))
        others = a * (rows / (rows - count).clamp_min(1))
        if a.dim() == 2:
            tempered_B, own_B = tempered_B.unsqueeze(1), own_B.unsqueeze(1)
        sums = {"successes": success_B.sum().double(), "tempered": count.double()}
        return rollouts.replace(advantages=torch.where(tempered_B, own_B, others), sums=sums)

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        return {"temperature": self._temperature(summary)}

    def _temperature(self, summary: Summary) -> float:
        low, high = self.limits
        return min(max(1 + self.target - summary.mean("entropy"), low), high)

    def report(self, summary: Summary) -> dict[str, float]:
        own, tempered = {"temperature": self._temperature(summary)}, summary.get("tempered")
        return own | ({"success_share": summary.get("successes") / tempered} if tempered else {})


scope = register(Scope)
