"""Doubling control: the output doubles while the entropy is on one side of the target and halves while on the other.

Source: the controller of REPO-R, 2603.11682, Appendix D.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from entrostat.control.base import Action, check_measured
from entrostat.control.numbers import flag, number
from entrostat.control.targets import Band, TargetLike, aim, as_target
from entrostat.errors import ConfigError


@dataclass(frozen=True)
class DoublingState:
    """`output` is what is commanded; `initial` is the entropy that the policy started with."""

    steps: int = 0
    measured: float = 0.0
    target: float = 0.0
    error: float = 0.0
    output: float = 0.0
    saturated: int = 0
    initial: float = 0.0


@dataclass(frozen=True)
class Doubling:
    """Double an output that must grow, halve one that must shrink; below the smallest size it changes its sign.

    Inside a `Band` the output stays.

    Args:
        target: entropy to hold [nats per token]: a number, a fraction of the start (`Initial(0.75)`, or in words
            "0.75 * initial"), a schedule, or a `Band`.
        start: output before the first measurement.
        smallest, largest: sizes of the output, both above zero.
        both_signs: whether it may change its sign; if not, it stays between `smallest` and `largest`.
        action: what a larger output does to the entropy; the method that owns the actuator sets it.
    """

    target: TargetLike
    start: float = 0.01
    smallest: float = 1e-4
    largest: float = 1.0
    both_signs: bool = True
    action: Action | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", as_target(self.target))
        for name in ("start", "smallest", "largest"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        object.__setattr__(self, "both_signs", flag("both_signs", self.both_signs))
        if not 0 < self.smallest < self.largest:
            raise ConfigError(
                f"smallest and largest must be sizes above zero, in order; got {self.smallest}, {self.largest}"
            )
        if not (self.smallest <= abs(self.start) <= self.largest and (self.both_signs or self.start > 0)):
            raise ConfigError(f"start must have a size from {self.smallest} to {self.largest}, got {self.start}")

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest output."""
        return (-self.largest if self.both_signs else self.smallest), self.largest

    def init(self) -> DoublingState:
        return DoublingState(output=float(self.start))

    def step(self, state: DoublingState, measured: float) -> DoublingState:
        """One optimizer step: `measured` is the exact mean entropy of its batch [nats per token]."""
        check_measured(measured)
        goal = aim(self.target, state.steps, measured, state.initial)
        output, end = state.output, 0
        if not (isinstance(self.target, Band) and goal.error == 0):
            up = (goal.error < 0) == (self.action == "raise")
            output, end = self._moved(state.output, up)
        return DoublingState(state.steps + 1, measured, goal.value, goal.error, output, end, goal.initial)

    def _moved(self, output: float, up: bool) -> tuple[float, int]:
        """The output doubled or halved, whichever moves it so, and the limit that stopped it: 1 upper, -1 lower, 0 none."""
        grows = (output > 0) == up
        if grows:
            wanted = 2 * output
            bounded = max(min(wanted, self.largest), -self.largest)
            return bounded, (wanted > bounded) - (wanted < bounded)
        if abs(output) / 2 >= self.smallest:
            return output / 2, 0
        if self.both_signs:
            return (self.smallest if up else -self.smallest), 0
        return self.smallest, -1
