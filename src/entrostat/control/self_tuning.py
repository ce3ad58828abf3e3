"""Self-tuning control: the controller estimates the plant while it controls it, and computes its gains from the estimate.

With the plant of `estimator`, feedback from e = H - target and from w = a - d/g puts both poles of the loop at rho, for any
momentum beta (docs/theory.md):

    u = d/g + k_e e + k_w w,    k_e = (1 - rho)^2 / (g (1 - beta)),    k_w = (rho^2 - beta) / (1 - beta)

u is the effort, not the output itself. If the method knows the first-order effect of its outputs on the batch (`Effect`), u is
the change that the output makes, in units of a quarter of what the limits can make on the first batch. Saturation of the
actuator, and the drift that the theory predicts, are then not part of the plant, and one factor is left to estimate. Otherwise u
is the output's distance from its start, in quarters of the range between the limits.

The estimated drift replaces an integral. The estimator gets the effort that really acted, so limits cannot wind it up. An output
is computed on the curve of one batch and acts on the next; the mean difference is subtracted (`bias`). A target that moves by s a
step counts as a drift of d - s. While the gain is uncertain, a multiple of its standard error is used in its place if that is
larger, so the feedback is safe for every gain that is still likely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from entrostat.control.base import Action, check_limits, check_measured, check_range
from entrostat.control.effect import Actuator, Curve, Effect, Straight
from entrostat.control.estimator import (
    PRIOR_GAIN,
    corrected,
    drift_explained,
    first_estimate,
    predicted,
    wandered,
)
from entrostat.control.numbers import number
from entrostat.control.reach import AT_LIMIT, judged
from entrostat.control.self_tuning_state import SelfTuningState
from entrostat.control.targets import Band, TargetLike, aim, as_target
from entrostat.errors import ConfigError, DataError

SETTLED = 4.744
"""Time constants until a double pole stays within 5 %: the root of (1 + x) exp(-x) = 0.05."""

_RANGE = (
    4.0  # efforts between the limits, of any actuator: what a prior of the gain is worth does not hang on its units
)
_OWN_SHARE = 0.75  # of the settling time asked for is the loop's own: the rest goes into finding out the plant
_SHORTEST_SETTLING = (
    16.0  # steps that haste leaves the loop: with AdamW's momentum it only overshoots if it is asked for less
)
SHORTEST_MEMORY = 2.0  # measurements within which a change is followed
# Settling times; a filter that takes level and drift to wander more than they do takes the noise that the loop fed back for
# an effect, and the gain of a quiet loop comes out too large.
_LONGEST_MEMORY = 3.0
_CAUTION = 1.5  # standard errors of the gain that the feedback reckons with
_LEAST_GAIN = 0.1  # of the prior gain: below it the feedback would answer noise with all it has
_KNOWN, _UNKNOWN = 2.0, 1.0  # standard errors by which a gain stands out of the noise, and within which it does not
_BIAS_MEMORY = 2.0  # time constants of the loop over which misses are averaged


@dataclass(frozen=True)
class SelfTuning:
    """Bring the entropy to its target within a settling time, with gains that the controller finds itself.

    Args:
        target: entropy to hold [nats per token]: a number, `Initial()`, a schedule over optimizer steps, which is followed
            without lag, or a `Band`.
        settling: optimizer steps after which an error stays within 5 % of its first size. It includes the time to learn the
            plant; after that the loop takes three quarters of it, or 16 steps if that is more.
        limits: lowest and highest output.
        start: output before the first measurement, within the limits; for a clip range its usual value.
        rate: largest change of the output in one step. By default the effort moves away from the one that holds by at most a
            tenth of its range a step, and returns to it at once.
        deadband: errors below this many standard errors of the estimated level are ignored.
        momentum: share of an output's push that is left in the next step; 0 for plain gradient descent. AdamW with the usual
            beta1 of 0.9 acts on the entropy like 0.86, since old gradients belong to an earlier policy.
        delay: steps between a measurement and the first step that it corrects: 1 if the output acts on the next batch, 0 if it
            acts on the batch that was measured.
        action: what a larger output does to the entropy; the method sets it.

    Raises:
        ConfigError: a setting out of its range; the message names it.
    """

    target: TargetLike
    settling: float = 30.0
    limits: tuple[float, float] = (-2.0, 2.0)
    start: float = 0.0
    rate: float | None = None
    deadband: float = 0.0
    momentum: float = 0.86
    delay: int = 1
    action: Action | None = None

    reads_effect: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", as_target(self.target))
        object.__setattr__(self, "start", number("start", self.start))
        object.__setattr__(self, "limits", check_limits(self.limits, self.start, "output"))
        check_range(self.limits)
        for name, least, most, what in (
            ("settling", 3, 1e6, "a number of optimizer steps, from 3 to a million"),
            ("deadband", 0, math.inf, "a number of standard errors, zero or more"),
            ("momentum", 0, 0.9999, "a number from 0 to 0.9999"),
            ("rate", 1e-12, math.inf, "a change of output per step above zero, or left out"),
        ):
            if name != "rate" or self.rate is not None:
                object.__setattr__(self, name, number(name, getattr(self, name), what, least, most))
        if isinstance(self.delay, bool) or self.delay not in (0, 1):
            raise ConfigError(f"delay must be 0 or 1 steps, got {self.delay!r}")

    @property
    def time_constant(self) -> float:
        """Of the loop [optimizer steps]."""
        return max(_OWN_SHARE * self.settling, min(self.settling, _SHORTEST_SETTLING)) / SETTLED

    @property
    def pole(self) -> float:
        """rho, where both poles of the loop are put."""
        return math.exp(-1 / self.time_constant)

    def init(self) -> SelfTuningState:
        return SelfTuningState(output=self.start)

    def step(
        self,
        state: SelfTuningState,
        measured: float,
        effect: Effect | None = None,
        standard_error: float | None = None,
        fresh: bool | None = None,
    ) -> SelfTuningState:
        """One optimizer step.

        Args:
            measured: exact mean entropy of its batch [nats per token].
            effect: the effect of this controller's outputs on that batch, if the method knows it.
            standard_error: of `measured`, from the batch itself [nats] (`stats.clusters`). The innovations correct it by a
                factor.
                None: as large as before.
            fresh: whether the batch was sampled since the last step. Several updates on one batch share its noise and count as
                one
                measurement. None: yes, unless the measurement equals the last one to the bit.
        """
        check_measured(measured)
        known = self._corrected(state, measured, standard_error, fresh)
        if effect and effect.width and not known.unit:
            known = drift_explained(replace(known, unit=effect.width / _RANGE))
        actuator = self._actuator(known.unit, effect)
        if self.delay:  # the output that acted on this batch was chosen before it
            acted = actuator.acted(state.output)
            # What a limit cut off was not meant so, and a batch on which no output moves anything tells nothing.
            if state.unit and not state.saturated and actuator.low < actuator.high:
                over = max(_BIAS_MEMORY * self.time_constant, 2.0)
                known = replace(known, bias=known.bias + (acted - state.effort - known.bias) / over)
            known = self._predicted(known, acted, state.steps + 1)
        goal = aim(self.target, state.steps, measured, state.initial)
        effort, end = self._command(known, state, actuator, goal.initial)
        neutral = self._neutral(known, state)
        wanted = self.start if neutral else actuator.output(effort, state.output)
        end = 0 if neutral else end
        output = self._rate_limited(wanted, state.output)
        effort = actuator.of(output)
        if not self.delay:
            known = self._predicted(known, effort, state.steps + 1)
        moved = replace(
            known,
            steps=state.steps + 1,
            measured=measured,
            initial=goal.initial,
            target=goal.value,
            error=goal.error,
            output=output,
            effort=effort,
            saturated=end * actuator.direction,
            identified=self._identified(known, state.steps),
            neutral=neutral,
        )
        return judged(moved, state, actuator, end, self.settling)

    def _neutral(self, known: SelfTuningState, state: SelfTuningState) -> int:
        """For how many steps, with this one, the output stays at its start.

        For good if its effect has the wrong sign. If it is at a limit without effect and the gain is unknown, until the effect of
        taking it back shows, for at most one settling time.
        """
        if known.gain < -_KNOWN * known.gain_sd:
            return 1
        if known.gain >= _KNOWN * known.gain_sd:
            return 0
        if abs(state.at_limit) >= AT_LIMIT and not state.reachable:
            return math.ceil(self.settling)
        return max(state.neutral - 1, 0)

    def _actuator(self, unit: float, effect: Effect | None) -> Actuator:
        if effect and unit:
            return Curve(effect, unit)
        low, high = self.limits
        return Straight(self.limits, -1 if self.action == "raise" else 1, (high - low) / _RANGE, self.start)

    def _corrected(
        self, state: SelfTuningState, measured: float, standard_error: float | None, fresh: bool | None
    ) -> SelfTuningState:
        if standard_error is not None and not (math.isfinite(standard_error) and standard_error >= 0):
            raise DataError(f"standard_error must be a finite number of nats, zero or more, got {standard_error!r}")
        if not state.steps:
            memory = max(self.time_constant, SHORTEST_MEMORY)
            return wandered(first_estimate(state, measured, standard_error, memory))
        if not (measured != state.measured if fresh is None else fresh):
            return state
        memories = SHORTEST_MEMORY, _LONGEST_MEMORY * self.settling
        return wandered(corrected(state, measured, standard_error, state.steps, memories))

    def _predicted(self, now: SelfTuningState, effort: float, step: int) -> SelfTuningState:
        return predicted(now, effort, self._felt(step))

    def _felt(self, step: int) -> float:
        """The momentum of an optimizer step, counted from 1: Adam divides its moving average by 1 - beta^step."""
        return 1 - (1 - self.momentum) / (1 - self.momentum**step) if self.momentum else 0.0

    def _command(
        self, known: SelfTuningState, state: SelfTuningState, actuator: Actuator, initial: float
    ) -> tuple[float, int]:
        """The next effort, and whether it is at the lowest (-1) or the highest (1) that there is."""
        low, high = actuator.low, actuator.high
        if isinstance(self.target, Band):
            # Between its edges the entropy is left alone, but it must not run through one of them: no effort that lowers it
            # goes beyond the one that leads to the lower edge, and none that raises it beyond the one to the upper.
            lowers, raises = (self._toward(edge, known, state, actuator, initial) for edge in self.target.edges)
            rest = actuator.of(self.start)
            wanted, hold = min(max((rest, rest), raises), lowers)
        else:
            wanted, hold = self._toward(self.target, known, state, actuator, initial)
        if self.rate is None:
            # What proves too much is taken back at once: a limit on that would let a gain larger than believed overshoot.
            now, most = actuator.of(state.output), (high - low) / 10
            wanted = min(max(wanted, min(now - most, hold)), max(now + most, hold))
        end = (wanted >= high) - (wanted <= low) if low < high else 0
        return min(max(wanted, low), high), end

    def _toward(
        self, target: TargetLike, known: SelfTuningState, state: SelfTuningState, actuator: Actuator, initial: float
    ) -> tuple[float, float]:
        """The effort that brings the entropy to a target that is no band, and the one that keeps it there."""
        goal = aim(target, state.steps + self.delay, known.level, initial)
        ignored = self.deadband * math.sqrt(known.level_level)
        error = math.copysign(max(abs(goal.error) - ignored, 0.0), goal.error)
        least = PRIOR_GAIN * known.scale * (_LEAST_GAIN if known.gain > _KNOWN * known.gain_sd else 1.0)
        gain = max(known.gain, _CAUTION * known.gain_sd, least)
        most = 2 * max(abs(actuator.low), abs(actuator.high))
        # Drift and gain are known together, as the present rate of change, long before they are known apart.
        rate_now = known.drift - known.gain * known.lagged
        hold = min(max(known.lagged + (rate_now - goal.slope) / gain, -most), most)
        rho, beta = self.pole, self._felt(state.steps + 1 + self.delay)
        k_e = (1 - rho) ** 2 / (gain * (1 - beta))
        k_w = (rho**2 - beta) / (1 - beta)
        return hold + k_e * error + k_w * (known.lagged - hold) - known.bias, hold - known.bias

    def _rate_limited(self, output: float, before: float) -> float:
        return output if self.rate is None else min(max(output, before - self.rate), before + self.rate)

    def _identified(self, known: SelfTuningState, steps: int) -> int:
        if known.gain > _KNOWN * known.gain_sd:
            return 1
        if known.gain < -_KNOWN * known.gain_sd:
            return -1
        return -1 if steps >= 2 * self.settling and known.gain < _UNKNOWN * known.gain_sd else 0
