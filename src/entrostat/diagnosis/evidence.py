"""What a rule gives back, and the facts that several rules ask for, worked out once per run."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from entrostat.diagnosis.curve import Curve, Outcome, outcome_of

if TYPE_CHECKING:
    from entrostat.logs import Run


@dataclass(frozen=True)
class Evidence:
    """What a rule saw: see `Finding`. `severity` is empty where it is the register's."""

    confidence: float
    text: str
    steps: tuple[float, float]
    quantity: str
    numbers: dict[str, float] = field(default_factory=dict)
    severity: str = ""


class Facts:
    """A run's columns as curves, and what became of its reward."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._curves: dict[str, Curve] = {}

    def curve(self, name: str) -> Curve:
        if name not in self._curves:
            self._curves[name] = Curve.of(self.run, name)
        return self._curves[name]

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last step of the run, which has rows."""
        return float(self.run.steps[0]), float(self.run.steps[-1])

    @cached_property
    def entropy(self) -> Curve:
        return self.curve("entropy")

    @cached_property
    def reward(self) -> Curve:
        return self.curve("reward")

    @cached_property
    def outcome(self) -> Outcome:
        return outcome_of(self.reward)

    @property
    def learned(self) -> bool:
        """Whether the reward rose and stayed up: then what fell or rose beside it did no harm."""
        return self.outcome.known and self.outcome.gained and not self.outcome.lost

    @cached_property
    def no_spread(self) -> float:
        """Share of groups without spread over the last third; NaN where nothing says it."""
        share = self.curve("no_spread")
        if len(share):
            return float(share.last(1 / 3).values.mean())
        spread = self.curve("reward_std")
        return float((spread.last(1 / 3).values == 0).mean()) if len(spread) else np.nan

    @cached_property
    def still(self) -> float:
        """Share of the last third's rows whose gradient is exactly 0; NaN where none is logged."""
        gradient = self.curve("grad_norm")
        return float((gradient.last(1 / 3).values == 0).mean()) if len(gradient) else np.nan

    @cached_property
    def shrunk(self) -> float:
        """Length at the end over the length at the start; NaN where there is none."""
        length = self.curve("length")
        if len(length) < 4:
            return np.nan
        start = max(float(length.values[0]), length.start)
        return length.end / start if start > 0 else np.nan

    @property
    def solved(self) -> bool:
        """Whether the reward, a share of problems, ended near 1: then groups without spread are no fault."""
        reward = self.reward
        return bool(len(reward) and reward.values.max() <= 1 + 1e-9 and reward.values.min() >= 0 and reward.end >= 0.9)
