"""Step control: move the output by a fixed amount each step, in the direction that brings the entropy back.

Source: Skywork-OR1, 2505.22312, adaptive entropy control.
"""

from __future__ import annotations

from dataclasses import dataclass

from entrostat.control.base import Action, check_limits, check_measured
from entrostat.control.numbers import flag, number
from entrostat.control.targets import Band, TargetLike, aim, as_target
from entrostat.errors import ConfigError


@dataclass(frozen=True)
class StepState:
    """`level` is the integrated value, `output` what is commanded: `level`, or 0 while the gate is shut.

    `initial` is the entropy that the policy started with.
    """

    steps: int = 0
    measured: float = 0.0
    target: float = 0.0
    error: float = 0.0
    level: float = 0.0
    output: float = 0.0
    saturated: int = 0
    initial: float = 0.0


@dataclass(frozen=True)
class Step:
    """level <- clip(level + delta) while the entropy is on the far side of the target, clip(level - delta) while not.

    Inside a `Band` the level stays.

    Args:
        target: entropy to hold [nats per token]: a number, a fraction of the start (`Initial(0.75)`, or in words
            "0.75 * initial"), a schedule, or a `Band`.
        delta: how far the level moves each optimizer step.
        limits: lowest and highest level.
        start: level before the first measurement.
        gated: command the level only while the entropy is on the side that the actuator moves it away from, else 0.
            With the bonus coefficient of Skywork-OR1 this means: a bonus below the target, none above it. A level
            of 0 does not stop the controller.
        action: what a larger output does to the entropy; the method that owns the actuator sets it.
    """

    target: TargetLike
    delta: float = 1e-4
    limits: tuple[float, float] = (0.0, 5e-3)
    start: float = 0.0
    gated: bool = True
    action: Action | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", as_target(self.target))
        for name in ("delta", "start"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if self.delta <= 0:
            raise ConfigError(f"delta must be a finite step above zero, got {self.delta!r}")
        object.__setattr__(self, "gated", flag("gated", self.gated))
        object.__setattr__(self, "limits", check_limits(self.limits, self.start, "level"))

    def init(self) -> StepState:
        # The gate is open before the first measurement, as in the release.
        return StepState(level=float(self.start), output=float(self.start))

    def step(self, state: StepState, measured: float) -> StepState:
        """One optimizer step: `measured` is the exact mean entropy of its batch [nats per token]."""
        check_measured(measured)
        low, high = self.limits
        goal = aim(self.target, state.steps, measured, state.initial)
        needed = goal.error < 0 if self.action == "raise" else goal.error > 0
        inside = isinstance(self.target, Band) and goal.error == 0  # nothing is to be moved there
        wanted = state.level + (0.0 if inside else self.delta if needed else -self.delta)
        level = min(max(wanted, low), high)
        return StepState(
            steps=state.steps + 1,
            measured=measured,
            target=goal.value,
            error=goal.error,
            level=level,
            output=level if needed or not self.gated else 0.0,
            saturated=(wanted > high) - (wanted < low),
            initial=goal.initial,
        )
