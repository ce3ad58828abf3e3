"""Self-tuning control: the plant is identified while it is controlled, and the gains follow from what is found.

With the plant of `estimator`, feedback from e = H - target and from w = a - d/g puts both poles of the loop at rho, for any
momentum beta (docs/theory.md):

    u = d/g + k_e e + k_w w,    k_e = (1 - rho)^2 / (g (1 - beta)),    k_w = (rho^2 - beta) / (1 - beta)

The estimated drift does what an integral does elsewhere; as the estimator is told what was really commanded, limits cannot
wind it up. A target that moves by s a step is a drift of d - s. While the gain is uncertain, a multiple of its standard
error takes its place where that is larger: the feedback is then safe for every gain that is still likely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from entrostat.control.base import Action, check_limits, check_measured
from entrostat.control.estimator import PRIOR_GAIN, Estimate, corrected, first_estimate, predicted
from entrostat.control.targets import Target, aim, check_target
from entrostat.errors import ConfigError

SETTLED = 4.744
"""Time constants until a double pole stays within 5 %: the root of (1 + x) exp(-x) = 0.05."""

_CAUTION = 1.5  # standard errors of the gain that the feedback reckons with
_LEAST_GAIN = 0.1  # of the prior gain: below it the feedback would answer noise with all it has
_KNOWN = 2.0  # standard errors by which a gain stands out of the noise
_STRETCH = 12  # steps at a limit before it is judged what that limit can do
_PATIENCE = 10.0  # settling times; a target that takes longer at full output counts as out of reach


@dataclass(frozen=True)
class SelfTuningState(Estimate):
    """The controller after a number of steps: what it measured, what it believes (see `Estimate`), what it commands.

    `saturated` is -1 or 1 where the output sits at its lower or upper limit. `identified` is 1 while the gain stands out of
    the noise with the right sign, -1 where it does not after two settling times (the feedback then keeps to gains that its
    uncertainty allows), 0 until then. `reachable` is 0 while the output is at its limit and does not bring the entropy
    nearer to the target; `reach_low` and `reach_high` [nats] are where one settling time at the limits would lead. The
    `stretch` fields add up the measurements since the output reached its limit: count, and sums of y and t y.
    """

    steps: int = 0
    measured: float = 0.0
    initial: float = 0.0
    target: float = 0.0
    error: float = 0.0
    output: float = 0.0
    saturated: int = 0
    identified: int = 0
    reachable: int = 1
    reach_low: float = 0.0
    reach_high: float = 0.0
    stretch: int = 0
    stretch_y: float = 0.0
    stretch_ty: float = 0.0


@dataclass(frozen=True)
class SelfTuning:
    """Brings the entropy to its target within a settling time that is given in steps, by gains that it finds itself.

    Args:
        target: entropy to hold [nats per token]: a number, `Initial()`, a schedule over optimizer steps, which is followed
            without lag, or a `Band`.
        settling: optimizer steps after which an error stays within 5 % of itself.
        limits: lowest and highest output.
        rate: most that the output changes in one step; by default a tenth of the width of its limits.
        deadband: errors below this many standard errors of the estimated level are left alone.
        momentum: beta of the optimizer's first moment: AdamW's beta1. 0 for plain gradient descent.
        delay: steps between a measurement and the first step that it corrects: 1 where the output acts on the next
            batch, 0 where it acts on the batch that was measured.
        action: what a larger output does to the entropy; the method that owns the actuator sets it.

    Raises:
        ConfigError: a setting out of its range; the message names it.
    """

    target: Target
    settling: float = 30.0
    limits: tuple[float, float] = (-2.0, 2.0)
    rate: float | None = None
    deadband: float = 0.5
    momentum: float = 0.9
    delay: int = 1
    action: Action | None = None

    def __post_init__(self) -> None:
        check_target(self.target)
        object.__setattr__(self, "limits", check_limits(self.limits, 0.0, "output"))
        low, high = self.limits
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(f"limits must be finite and apart, got {self.limits!r}: what they reach is reported")
        _check("settling", self.settling, 3, math.inf, "a number of optimizer steps, at least 3")
        _check("deadband", self.deadband, 0, math.inf, "a number of standard errors, zero or more")
        _check("momentum", self.momentum, 0, 0.9999, "a number from 0 to 0.9999")
        if self.rate is not None:
            _check("rate", self.rate, 1e-12, math.inf, "a change of output per step above zero, or left out")
        if self.delay not in (0, 1):
            raise ConfigError(f"delay must be 0 or 1 steps, got {self.delay!r}")

    @property
    def pole(self) -> float:
        """rho, where both poles of the loop are put."""
        return math.exp(-SETTLED / self.settling)

    def init(self) -> SelfTuningState:
        return SelfTuningState()

    def step(self, state: SelfTuningState, measured: float) -> SelfTuningState:
        """One optimizer step: `measured` is the exact mean entropy of its batch [nats per token]."""
        check_measured(measured)
        known = corrected(state, measured, state.steps) if state.steps else first_estimate(state, measured)
        if self.delay:  # the output that acted on this batch was chosen before it
            known = self._predicted(known, state.output, state.steps + 1)
        goal = aim(self.target, state.steps, measured, state.initial)
        output, saturated = self._command(known, state, goal.initial)
        if not self.delay:
            known = self._predicted(known, output, state.steps + 1)
        moved = replace(
            known,
            steps=state.steps + 1,
            measured=measured,
            initial=goal.initial,
            target=goal.value,
            error=goal.error,
            output=output,
            saturated=saturated,
            identified=self._identified(known, state.steps),
        )
        return self._judged(moved, state)

    # An output that raises the entropy is, to the estimator, a negative one that lowers it.

    @property
    def _sign(self) -> float:
        return -1.0 if self.action == "raise" else 1.0

    def _predicted(self, now: SelfTuningState, output: float, step: int) -> SelfTuningState:
        memory = max(0.7 * self.settling / SETTLED, 2.0)
        return predicted(now, self._sign * output, self._felt(step), memory)

    def _felt(self, step: int) -> float:
        """The momentum of an optimizer step, counted from 1: Adam divides its moving average by 1 - beta^step."""
        return 1 - (1 - self.momentum) / (1 - self.momentum**step) if self.momentum else 0.0

    def _command(self, known: SelfTuningState, state: SelfTuningState, initial: float) -> tuple[float, int]:
        """The next output, and the limit that it is at."""
        low, high = self.limits
        goal = aim(self.target, state.steps + self.delay, known.level, initial)
        ignored = self.deadband * math.sqrt(known.level_level)
        error = math.copysign(max(abs(goal.error) - ignored, 0.0), goal.error)
        gain = max(known.gain, _CAUTION * known.gain_sd, _LEAST_GAIN * PRIOR_GAIN * known.scale)
        most = 2 * max(abs(low), abs(high))
        # Drift and gain are known together, as the present rate of change, long before they are known apart.
        rate_now = known.drift - known.gain * known.lagged
        hold = min(max(known.lagged + (rate_now - goal.slope) / gain, -most), most)
        rho, beta = self.pole, self._felt(state.steps + 1 + self.delay)
        k_e = (1 - rho) ** 2 / (gain * (1 - beta))
        k_w = (rho**2 - beta) / (1 - beta)
        wanted = self._sign * (hold + k_e * error + k_w * (known.lagged - hold))
        rate = (high - low) / 10 if self.rate is None else self.rate
        near = min(max(wanted, state.output - rate), state.output + rate)
        return min(max(near, low), high), (near >= high) - (near <= low)

    def _identified(self, known: SelfTuningState, steps: int) -> int:
        if known.gain > _KNOWN * known.gain_sd:
            return 1
        return -1 if steps >= 2 * self.settling else 0

    def _judged(self, moved: SelfTuningState, before: SelfTuningState) -> SelfTuningState:
        """The same state with what the limits reach, and whether they reach the target."""
        low, high = self.limits
        ends = [moved.level + self.settling * (moved.drift - self._sign * u * moved.gain) for u in (low, high)]
        reach_low, reach_high = sorted(max(end, 0.0) for end in ends)
        count = before.stretch + 1 if moved.saturated and moved.saturated == before.saturated else 0
        y = moved.measured + (before.stretch_y if count > 1 else 0.0) if count else 0.0
        ty = count * moved.measured + (before.stretch_ty if count > 1 else 0.0) if count else 0.0
        reachable = 1
        if count >= _STRETCH:
            spread = count * (count**2 - 1) / 12
            slope = (ty - y * (count + 1) / 2) / spread
            toward = -math.copysign(slope, slope * moved.error)
            best = toward + 2 * math.sqrt(moved.noise / spread)
            reachable = int(best > abs(moved.error) / (_PATIENCE * self.settling))
        return replace(
            moved,
            reachable=reachable,
            reach_low=reach_low,
            reach_high=reach_high,
            stretch=count,
            stretch_y=y,
            stretch_ty=ty,
        )


def _check(name: str, value: float, least: float, most: float, what: str) -> None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (fits and least <= value <= most):
        raise ConfigError(f"{name} must be {what}, got {value!r}")
