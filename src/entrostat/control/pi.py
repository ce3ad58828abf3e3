"""Proportional and proportional-integral control.

Source: EntroPIC, 2511.15248, Algorithm 1 and its released controller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from entrostat.control.base import Action, check_limits, check_measured
from entrostat.control.numbers import flag, number
from entrostat.control.targets import TargetLike, aim, as_target
from entrostat.errors import ConfigError


@dataclass(frozen=True)
class PIState:
    """The controller after a number of steps; every part of the last output is kept, for plots and for diagnosis.

    `integral` is the sum of errors [nats]; `proportional`, `integral_part` and `feed_forward` are the parts of the output,
    `saturated` is -1 or 1 where it sits at its lower or upper limit, else 0. `initial` is the entropy that the policy
    started with.
    """

    steps: int = 0
    measured: float = 0.0
    target: float = 0.0
    error: float = 0.0
    integral: float = 0.0
    proportional: float = 0.0
    integral_part: float = 0.0
    feed_forward: float = 0.0
    output: float = 0.0
    saturated: int = 0
    initial: float = 0.0


@dataclass(frozen=True)
class PI:
    """Output = clip(kp * e + ki * sum(e) - feed_forward * slope, limits), e = measured - target.

    Error and slope are negated where the actuator raises the entropy.

    Args:
        target: entropy to hold [nats per token]: a number, a fraction of the start (`Initial(0.75)`, or in words
            "0.75 * initial"), a schedule over optimizer steps, or a `Band`.
        kp: proportional gain [output per nat].
        ki: integral gain [output per nat and step].
        limits: lowest and highest output.
        anti_windup: while the output is at a limit, do not let the integral grow further past it. EntroPIC's release
            has none, so its preset turns it off.
        integral_read: "after" adds the present error to the integral before it is used, "before" uses the integral
            first (as EntroPIC releases it); the gains for a wanted settling time differ, see `lab.stability`.
        bumpless: choose the integral at the first measurement so that the first output equals `start`, whatever the
            error is: switching control on in the middle of a run then makes no jump.
        start: output before the first measurement.
        feed_forward: output per nat per step that the target moves: with 1 / g, where one unit of output moves the entropy
            by g nats in a step, the policy is sent along the target's slope before an error shows. 0 waits for the error.
        action: what a larger output does to the entropy; the method that owns the actuator sets it.

    Raises:
        ConfigError: a gain that is negative or not finite, limits out of order, a negative target.
    """

    target: TargetLike
    kp: float = 1.0
    ki: float = 0.01
    limits: tuple[float, float] = (-1.0, 1.0)
    anti_windup: bool = True
    integral_read: Literal["after", "before"] = "after"
    bumpless: bool = False
    start: float = 0.0
    feed_forward: float = 0.0
    action: Action | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", as_target(self.target))
        for name in ("kp", "ki", "feed_forward"):
            what = "a finite gain, zero or more (the loop's sign comes from the actuator)"
            object.__setattr__(self, name, number(name, getattr(self, name), what, 0))
        for name in ("anti_windup", "bumpless"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        object.__setattr__(self, "start", number("start", self.start))
        object.__setattr__(self, "limits", check_limits(self.limits, self.start, "output"))
        if self.integral_read not in ("after", "before"):
            raise ConfigError(f"integral_read must be 'after' or 'before', got {self.integral_read!r}")
        if self.bumpless and self.ki == 0:
            raise ConfigError("bumpless needs an integral term to absorb the first error, got ki=0")

    def init(self) -> PIState:
        return PIState(output=float(self.start))

    def step(self, state: PIState, measured: float) -> PIState:
        """One optimizer step: `measured` is the exact mean entropy of its batch [nats per token]."""
        check_measured(measured)
        low, high = self.limits
        goal = aim(self.target, state.steps, measured, state.initial)
        effort = -goal.error if self.action == "raise" else goal.error
        proportional = self.kp * effort
        fed = self.feed_forward * (goal.slope if self.action == "raise" else -goal.slope)
        at_once = proportional + fed
        held = state.integral
        if state.steps == 0 and self.ki > 0:
            held = (self.start - (at_once if self.bumpless else 0.0)) / self.ki
            if self.bumpless and self.integral_read == "after":
                held -= effort
        advanced = held + effort
        integral_part = self.ki * (advanced if self.integral_read == "after" else held)
        wanted = at_once + integral_part
        saturated = (wanted > high) - (wanted < low)
        if self.anti_windup and saturated * effort > 0:
            # Integrate as far as the limit and no further; an integral that is past it already stays where it is.
            if self.integral_read == "after" and self.ki > 0:
                at_limit = ((high if effort > 0 else low) - at_once) / self.ki
                advanced = sorted((held, at_limit, advanced))[1]
                integral_part = self.ki * advanced
            else:
                advanced = held
                integral_part = self.ki * held
            wanted = at_once + integral_part
        output = min(max(wanted, low), high)
        return PIState(
            steps=state.steps + 1,
            measured=measured,
            target=goal.value,
            error=goal.error,
            integral=advanced,
            proportional=proportional,
            integral_part=integral_part,
            feed_forward=fed,
            output=output,
            saturated=saturated if high > low else 0,
            initial=goal.initial,
        )


def P(
    target: TargetLike,
    kp: float = 1.0,
    limits: tuple[float, float] = (-1.0, 1.0),
    action: Action | None = None,
) -> PI:
    """Proportional control alone: a `PI` whose integral gain is zero. Leaves an error wherever the entropy drifts."""
    return PI(target=target, kp=kp, ki=0.0, limits=limits, action=action)
