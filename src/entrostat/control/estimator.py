"""What a controller believes of its plant: level, drift and gain of the entropy, from noisy measurements.

The plant, where an optimizer with momentum (AdamW's first moment, beta) answers an output u with a lag:

    a[t]   = beta a[t-1] + (1 - beta) u[t]                       the output as it reaches the policy
    H[t+1] = H[t] + d - g a[t],    measured[t] = H[t] + noise    drift d, gain g

Since a[t] is known, this is linear in (H, d, g). A Kalman filter in which d and g walk at random is recursive least
squares with forgetting that knows how noisy its measurements are (Ljung and Soderstrom, Theory and Practice of Recursive
Identification, 1983, section 2.6). The noise itself comes from the filter's innovations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

# What is taken to be true before anything was measured, in proportion to the first measured entropy.
PRIOR_GAIN = 0.005  # one unit of output moves the entropy by this share of it a step
PRIOR_GAIN_SD = 0.015  # anything from nothing to several times as much
PRIOR_DRIFT_SD = 0.01  # per step
PRIOR_UNFORESEEN_SD = 0.004  # per step: of what the first-order theory does not foresee of the drift
PRIOR_NOISE_SD = 0.03  # of one measurement
GAIN_WALK = 0.05  # of the gain a step
LEVEL_WALK = 0.1  # of the measurement noise: what one update does to the entropy beyond drift and output
# An innovation of more standard deviations than `_WILD` is no noise, nor a drift or gain misjudged. Alone it is a wild
# measurement; with one of more than `_AGAIN` after it, on the same side, the level itself has jumped.
_WILD, _AGAIN = 5.0, 3.0
_LEAST_NOISE = 1e-3  # standard deviation, in proportion to the first measurement
_OUTLIER = 9.0  # an innovation counts for at most this many times its variance in the noise
_NOISE_MEMORY = 50.0  # steps


@dataclass(frozen=True)
class Estimate:
    """Means and covariance of (level, drift, gain) for the coming measurement.

    Attributes:
        level: the entropy [nats]; drift: d [nats per step]; gain: g [nats per step and unit of output].
        lagged: a, the output as it reaches the policy.
        noise: variance of a measurement [nats^2].
        scale: the first measurement [nats]; 0 before it.
        wild: 1 or -1 where the last measurement lay too far above or below its prediction to be taken for one, else 0.
        jumped: 1 where the last two lay so far on the same side that the level must have jumped.
        level_level ... gain_gain: the covariance.
    """

    level: float = 0.0
    drift: float = 0.0
    gain: float = 0.0
    lagged: float = 0.0
    noise: float = 0.0
    scale: float = 0.0
    wild: int = 0
    jumped: int = 0
    level_level: float = 0.0
    level_drift: float = 0.0
    level_gain: float = 0.0
    drift_drift: float = 0.0
    drift_gain: float = 0.0
    gain_gain: float = 0.0

    @property
    def gain_sd(self) -> float:
        """Standard error of `gain`."""
        return math.sqrt(self.gain_gain)


E = TypeVar("E", bound=Estimate)


def first_estimate(into: E, measured: float) -> E:
    """The prior, scaled by the first measurement."""
    scale = max(measured, 1e-6)
    noise = (PRIOR_NOISE_SD * scale) ** 2
    return replace(
        into,
        level=measured,
        drift=0.0,
        gain=PRIOR_GAIN * scale,
        lagged=0.0,
        noise=noise,
        scale=scale,
        level_level=noise,
        level_drift=0.0,
        level_gain=0.0,
        drift_drift=(PRIOR_DRIFT_SD * scale) ** 2,
        drift_gain=0.0,
        gain_gain=(PRIOR_GAIN_SD * scale) ** 2,
    )


def drift_explained(now: E) -> E:
    """The estimate once a theory foresees the drift: what is left of it is small, and nothing is known of it yet."""
    variance = (PRIOR_UNFORESEEN_SD * now.scale) ** 2
    return replace(now, drift=0.0, drift_drift=variance, level_drift=0.0, drift_gain=0.0)


def corrected(before: E, measured: float, steps: int) -> E:
    """The estimate after one more measurement; `steps` is how many there were before."""
    innovation = measured - before.level
    variance = before.level_level + before.noise
    distance = innovation / math.sqrt(variance)
    jumped = distance * before.wild > _AGAIN
    wild = 0 if jumped or abs(distance) <= _WILD else int(math.copysign(1, distance))
    if jumped:  # another temperature or task: the level starts anew
        variance = innovation**2
        before = replace(before, level_level=variance - before.noise)
    level, drift, gain = (c / variance for c in (before.level_level, before.level_drift, before.level_gain))
    if wild:  # the next measurement will tell
        level = drift = gain = 0.0
    # The innovations' variance is that of the measurement and of the prediction together.
    excess = min(innovation**2, _OUTLIER * variance) - variance
    noise = before.noise + excess * (1 / (10 + steps) + 1 / _NOISE_MEMORY)
    return replace(
        before,
        level=before.level + level * innovation,
        drift=before.drift + drift * innovation,
        gain=before.gain + gain * innovation,
        noise=max(noise, (_LEAST_NOISE * before.scale) ** 2),
        wild=wild,
        jumped=int(jumped),
        level_level=before.level_level - level * before.level_level,
        level_drift=before.level_drift - level * before.level_drift,
        level_gain=before.level_gain - level * before.level_gain,
        drift_drift=before.drift_drift - drift * before.level_drift,
        drift_gain=before.drift_gain - drift * before.level_gain,
        gain_gain=before.gain_gain - gain * before.level_gain,
    )


def predicted(now: E, output: float, momentum: float, drift_walk: float) -> E:
    """The estimate one optimizer step later.

    Args:
        output: u of that step, positive where it lowers the entropy.
        momentum: beta.
        drift_walk: standard deviation of what the drift changes by in a step [nats per step].
    """
    a = momentum * now.lagged + (1 - momentum) * output
    # Covariance F P F' + Q with level' = level + drift - a gain.
    level_drift = now.level_drift + now.drift_drift - a * now.drift_gain
    level_gain = now.level_gain + now.drift_gain - a * now.gain_gain
    level_level = now.level_level + now.level_drift - a * now.level_gain + level_drift - a * level_gain
    drift_drift = now.drift_drift + drift_walk**2
    gain_gain = now.gain_gain + (GAIN_WALK * max(now.gain, now.gain_sd)) ** 2
    most = (PRIOR_GAIN_SD * now.scale) ** 2
    shrink = math.sqrt(most / gain_gain) if gain_gain > most else 1.0
    return replace(
        now,
        level=now.level + now.drift - a * now.gain,
        lagged=a,
        level_level=level_level + LEVEL_WALK * now.noise,
        level_drift=level_drift,
        level_gain=level_gain * shrink,
        drift_drift=drift_drift,
        drift_gain=now.drift_gain * shrink,
        gain_gain=gain_gain * shrink**2,
    )
