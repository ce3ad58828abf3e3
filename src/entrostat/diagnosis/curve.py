"""A column as a curve: its level at the start and the end, its noise, its smoothed course."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from entrostat.logs import Run
    from entrostat.logs.records import Values

_LARGEST = 1e100
_NORMAL = 1.4826  # standard deviation of a normal per median absolute deviation


@dataclass(frozen=True)
class Curve:
    """The finite values of a column, at their steps; those beyond 1e100 are left out, too."""

    steps: Values
    values: Values

    @classmethod
    def of(cls, run: Run, name: str) -> Curve:
        """A quantity of a run; empty where the run has none."""
        values = run[name]
        finite = np.abs(values) < _LARGEST  # whose squares do not overflow; False for NaN
        return cls(run.steps[finite], values[finite])

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def edge(self) -> int:
        """Rows that count as the start, and as the end: a twentieth, at least 3, at most 20."""
        return min(max(3, len(self) // 20), 20, max(1, len(self) // 2))

    @cached_property
    def start(self) -> float:
        return float(np.median(self.values[: self.edge]))

    @cached_property
    def end(self) -> float:
        return float(np.median(self.values[-self.edge :]))

    @cached_property
    def noise(self) -> float:
        """Standard deviation of one value about its course, from the differences of neighbors: half their variance."""
        if len(self) < 3:
            return 0.0
        return float(deviation(np.diff(self.values)) / np.sqrt(2))

    @cached_property
    def smooth(self) -> Values:
        """Running medians over `edge` rows on either side."""
        half = self.edge // 2 + 1
        if len(self) <= 2 * half:
            return np.full(len(self), np.median(self.values)) if len(self) else self.values
        return running_median(self.values, half)

    @cached_property
    def peak(self) -> int:
        """Index of the highest smoothed value."""
        return int(np.argmax(self.smooth)) if len(self) else 0

    @cached_property
    def error(self) -> float:
        """Standard error of `start` and of `end`, whose median costs a quarter more than a mean."""
        return float(1.25 * self.noise / np.sqrt(self.edge))

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last step."""
        return float(self.steps[0]), float(self.steps[-1])

    def since(self, step: float) -> Curve:
        """The part from a step on."""
        return self._part(self.steps >= step)

    def until(self, step: float) -> Curve:
        """The part up to a step, with it."""
        return self._part(self.steps <= step)

    def last(self, share: float) -> Curve:
        """The last part of the rows, at least one where there is any."""
        return self._part(np.arange(len(self)) >= min(int((1 - share) * len(self)), len(self) - 1))

    def _part(self, rows: np.ndarray) -> Curve:
        return Curve(self.steps[rows], self.values[rows])

    def zeros_at_end(self) -> int:
        """How many rows at the end are exactly 0."""
        other = np.flatnonzero(self.values != 0)
        return len(self) - (int(other[-1]) + 1 if len(other) else 0)

    def trend(self) -> tuple[float, float]:
        """Change from the first to the last third of the rows, and its standard error, from means over ten blocks."""
        n = len(self)
        if n < 9:
            return 0.0, np.inf
        third = n // 3
        first, last = self.values[:third], self.values[-third:]
        return float(last.mean() - first.mean()), float(np.hypot(_error_of_mean(first), _error_of_mean(last)))


def running_median(values: Values, half: int) -> Values:
    """The median of the rows about each, `half` on either side; beyond the ends the last value goes on."""
    padded = np.pad(values, half, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=-1)


def deviation(values: Values) -> float:
    """Their standard deviation, whatever a few of them hold: by the median of their distances from the median."""
    return float(_NORMAL * np.median(np.abs(values - np.median(values))))


def _error_of_mean(values: Values) -> float:
    blocks = min(10, len(values))
    means = [float(block.mean()) for block in np.array_split(values, blocks)]
    return float(np.std(means, ddof=1) / np.sqrt(blocks)) if blocks > 1 else np.inf


@dataclass(frozen=True)
class Outcome:
    """What became of the reward: the judge between a fall of entropy that is learning and one that is ruin.

    Attributes:
        known: whether there is a reward. gained: it ended well above its start. lost: it ended far below its best.
    """

    known: bool
    gained: bool
    lost: bool


def outcome_of(reward: Curve) -> Outcome:
    """Judge a reward by its medians at the start and the end and the best of its smoothed course."""
    if len(reward) < 6:
        return Outcome(False, False, False)
    start, end = reward.start, reward.end
    best = max(float(reward.smooth.max()), start, end)
    unsure = 2 * np.hypot(reward.error, reward.error)
    size = max(abs(start), abs(best), 1e-12)
    gained = end - start > max(unsure, 0.05 * size)
    rise = best - start
    # Far below the best: by more than noise explains, and by a third of all that there was.
    lost = best - end > max(2 * unsure, 0.33 * max(rise, abs(best) if start >= 0 else rise, 1e-12))
    return Outcome(True, bool(gained), bool(lost))
