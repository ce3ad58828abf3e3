"""The estimator of self-tuning control: level, drift and gain of the entropy, from noisy measurements.

The plant, with an optimizer whose momentum beta (AdamW's first moment) delays the effect of an output u:

    a[t]   = beta a[t-1] + (1 - beta) u[t]                       the output as it reaches the policy
    H[t+1] = H[t] + d - g a[t],    measured[t] = H[t] + noise    drift d, gain g

Since a[t] is known, this is linear in (H, d, g), and a Kalman filter estimates them. Five rules keep it right over thousands of
quiet steps.

* **It forgets only as much as it learns.** If the gain is modeled as a random walk, every step adds uncertainty, while a quiet
  loop says nothing about the gain; recursive least squares then winds up. Here a measurement that removes a share eta of the
  gain's variance P puts the same share of a standing variance P* back,

      P <- (1 - eta) P + eta P* nu^2 / S,        P* = (GAIN_SD gain)^2,

  so P settles at P* in an excited loop and stays as it is in a quiet one, and no bound is needed. This is forgetting restricted
  to the direction of the data (Kulhavy, Automatica 23(5), 1987) in the form of Stenlund and Gustafsson (Avoiding windup in
  recursive parameter estimation, 2002), who choose the process noise so that the covariance settles at a given one. The factor
  nu^2 / S, with the innovation nu and its variance S, makes the forgetting variable (Fortescue, Kershenbaum and Ydstie,
  Automatica 17(6), 1981): the larger the surprise, the more is forgotten. What is put back moves gain and drift together, so the
  present rate d - g a stays as well known as it is. If eta is below LEAST_LEARNED, the gain is left alone (a dead zone; Egardt,
  Stability of Adaptive Controllers, 1979), since a quiet output varies only with the noise that the loop fed back. The bound
  shrinks with the memory, because a level that really wanders also moves the output, and that is informative.
* **It relearns a gain that its innovations contradict.** A small gain has a small P*. If the noise is a fifth of the level, one
  measurement hardly moves it: a gain that had grown sevenfold was not noticed for a thousand steps. Many measurements together
  show it. An error of the gain changes an innovation by s = P[level, gain] / P times that error, so sum(s nu / S) is the slope of
  the log-likelihood over the gain and sum(s^2 / S) its variance: the score test (Rao, Proc. Cambridge Phil. Soc. 44(1), 1948),
  here over the last DOUBT_MEMORY measurements. Beyond DOUBTED standard deviations the gain's standard error becomes the error
  that the sums imply, at most the gain itself, and the sums start again. The filter then learns the gain quickly.
* **It sets its own memory.** The process noise of level and drift is such that a change is followed within `memory` measurements.
  An optimal filter's innovations are white (Mehra, IEEE Trans. Automatic Control 15(2), 1970). If they keep one sign the memory
  is too long, if they alternate it is too short, and it is moved accordingly. If even the shortest memory is too long, the gain
  (or delay or momentum) is wrong: the gain's variance grows, which weakens the feedback.
* **No batch is weighted by its own standard error.** That error grows with the batch's mean if a few prompts hold most of the
  entropy, and weights of 1 / variance then bias the level down (by 5 % of a language model's entropy after 700 steps). A
  measurement is weighted by the mean variance of the batches before it.
* **One measurement counts once.** Updates on one batch share its noise, so between fresh batches the estimate is only predicted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

# What is taken to be true before anything was measured, in proportion to the first measured entropy.
PRIOR_GAIN = 0.005  # one unit of output moves the entropy by this share of it a step
PRIOR_GAIN_SD = 0.015  # anything from nothing to several times as much
PRIOR_DRIFT_SD = 0.01  # per step
PRIOR_UNFORESEEN_SD = 0.004  # per step: of the part of the drift that the first-order theory does not predict
PRIOR_NOISE_SD = 0.03  # of one measurement
MOST_NOISE_SD = 0.1  # of the first one, whatever is said of it
GAIN_SD = 0.3  # standard error at which the gain comes to rest, as a share of it
LEAST_LEARNED = 0.005  # share of the gain's variance that a measurement must remove to count; at the longest memory
DOUBT_MEMORY = 100  # measurements that are asked together whether the gain is another
DOUBTED = 3.0  # standard deviations of their score beyond which it is
OUTLIER, CONFIRMED = 5.0, 3.0  # standard deviations of an innovation that is left out, and of the next that confirms it
_LEAST_NOISE = 1e-3  # standard deviation, in proportion to the first measurement
_CLIP = 4.0  # an innovation counts for at most so many standard deviations in what it says of noise and memory
_TOLD_MEMORY = 10  # batches over which the squares of their standard errors are averaged
_PACE = 0.1  # how quickly the memory follows the correlation


@dataclass(frozen=True)
class Estimate:
    """Means and covariance of (level, drift, gain) for the coming measurement.

    Attributes:
        level: the entropy [nats]; drift: d [nats per step]; gain: g [nats per step and unit of output].
        lagged: a, the output as it reaches the policy.
        noise: variance of the coming measurement [nats^2].
        excess: that variance over the mean square of the standard errors that were given, or of the first one assumed.
        scale: the first measurement [nats]; 0 before it.
        memory: measurements within which a change of level and drift is followed.
        trend: mean innovation over the memory, in its own standard deviations: 0 on average, of size 1.
        outlier: 1 or -1 if the last measurement was too far above or below its prediction to be used, else 0.
        jumped: 1 if the last two were so far off on the same side that the level must have jumped.
        level_level ... gain_gain: the covariance.
        score: slope of the last measurements' log-likelihood over the gain [1 / gain]; 0 on average while the gain is right.
        information: variance of that slope.
    """

    level: float = 0.0
    drift: float = 0.0
    gain: float = 0.0
    lagged: float = 0.0
    noise: float = 0.0
    excess: float = 1.0
    scale: float = 0.0
    memory: float = 0.0
    trend: float = 0.0
    outlier: int = 0
    jumped: int = 0
    level_level: float = 0.0
    level_drift: float = 0.0
    level_gain: float = 0.0
    drift_drift: float = 0.0
    drift_gain: float = 0.0
    gain_gain: float = 0.0
    score: float = 0.0
    information: float = 0.0

    @property
    def gain_sd(self) -> float:
        """Standard error of `gain`."""
        return math.sqrt(self.gain_gain)

    @property
    def impossible(self) -> str | None:
        """Why this cannot be an estimate, or None; checked when a saved state is loaded."""
        for name in ("noise", "excess", "scale", "memory", "level_level", "drift_drift", "gain_gain", "information"):
            if getattr(self, name) < 0:
                return f"{name} = {getattr(self, name)!r}, where it must be zero or more"
        for one, other in (("level", "drift"), ("level", "gain"), ("drift", "gain")):
            shared = getattr(self, f"{one}_{other}")
            most = math.sqrt(getattr(self, f"{one}_{one}") * getattr(self, f"{other}_{other}"))
            if abs(shared) > 1.01 * most:
                return f"{one}_{other} = {shared!r} is more than the variances of {one} and {other} allow"
        return None


E = TypeVar("E", bound=Estimate)


def first_estimate(into: E, measured: float, noise: float | None, memory: float) -> E:
    """The prior, scaled by the first measurement; `noise` is that measurement's standard error, where it is known."""
    scale = max(measured, 1e-6)
    assumed = PRIOR_NOISE_SD if noise is None else min(max(noise / scale, _LEAST_NOISE), MOST_NOISE_SD)
    variance = (assumed * scale) ** 2
    return replace(
        into,
        level=measured,
        drift=0.0,
        gain=PRIOR_GAIN * scale,
        lagged=0.0,
        noise=variance,
        excess=variance / max(noise or 0.0, _LEAST_NOISE * scale) ** 2 if noise else 1.0,
        scale=scale,
        memory=memory,
        trend=0.0,
        level_level=variance,
        level_drift=0.0,
        level_gain=0.0,
        drift_drift=(PRIOR_DRIFT_SD * scale) ** 2,
        drift_gain=0.0,
        gain_gain=(PRIOR_GAIN_SD * scale) ** 2,
        score=0.0,
        information=0.0,
    )


def drift_explained(now: E) -> E:
    """The estimate once the theory predicts the drift: what is left of the drift is small, and not known yet."""
    variance = (PRIOR_UNFORESEEN_SD * now.scale) ** 2
    return replace(now, drift=0.0, drift_drift=variance, level_drift=0.0, drift_gain=0.0)


def gain_doubted(before: E, shown: float, surprise: float, variance: float) -> tuple[float, float, float]:
    """Score and information with one more innovation, and the variance by which they raise the gain's.

    Args:
        shown: change of the innovation with an error of the gain.
        surprise: innovation over its variance.
        variance: that of the innovation.
    """
    left = 1 - 1 / DOUBT_MEMORY
    score, information = left * before.score + shown * surprise, left * before.information + shown**2 / variance
    if score**2 <= DOUBTED**2 * information:
        return score, information, 0.0
    error = min(abs(score / information), abs(before.gain))
    return 0.0, 0.0, max(error**2 - before.gain_gain, 0.0)


def corrected(before: E, measured: float, noise: float | None, steps: int, memory: tuple[float, float]) -> E:
    """The estimate after one more measurement.

    Args:
        noise: the measurement's standard error [nats], which counts from the next measurement on; None: unknown.
        steps: how many measurements there were before.
        memory: the shortest and the longest.
    """
    told, known = before.noise / before.excess, before.noise
    innovation = measured - before.level
    variance = before.level_level + known
    distance = innovation / math.sqrt(variance)
    jumped = distance * before.outlier > CONFIRMED
    outlier = 0 if jumped or abs(distance) <= OUTLIER else int(math.copysign(1, distance))
    if jumped:  # another temperature or task: the level starts anew
        before = replace(before, level_level=innovation**2 - known)
        variance, distance = innovation**2, 0.0
    level, drift, gain = (c / variance for c in (before.level_level, before.level_drift, before.level_gain))
    if outlier:  # the next measurement will tell
        level = drift = gain = 0.0
    heard = min(max(distance, -_CLIP), _CLIP)
    if not jumped:  # the innovations' variance is that of the measurement and of the prediction together
        known += (heard**2 - 1) * variance * (1 / (10 + steps) + 1 / 50)
        known = max(known, (_LEAST_NOISE * before.scale) ** 2)
    excess = known / told
    if noise is not None:
        told += (max(noise, _LEAST_NOISE * before.scale) ** 2 - told) / min(steps + 1, _TOLD_MEMORY)
    # White innovations neither go on as they went nor turn back: Mehra's test, one product at a time.
    wanted = before.memory * math.exp(-_PACE * heard * before.trend)
    pace = min(max(wanted, memory[0]), memory[1])
    share = 1 / pace
    trend = (1 - share) * before.trend + math.sqrt(share * (2 - share)) * heard
    # What the gain learns it forgets as far as its standing variance.
    learned = gain * before.level_gain / before.gain_gain
    if learned < LEAST_LEARNED * pace / memory[1]:
        drift -= before.lagged * gain  # of what moves both and leaves the rate as it is
        gain = learned = 0.0
    forgot = learned * (GAIN_SD * before.gain) ** 2 * distance**2
    if wanted < memory[0]:  # no memory is short enough: then it is the gain that is not as believed
        forgot += (math.sqrt(memory[0] / wanted) - 1) * before.gain_gain
    shown = 0.0 if outlier or jumped else before.level_gain / before.gain_gain
    score, information, doubt = gain_doubted(before, shown, heard / math.sqrt(variance), variance)
    forgot += doubt
    a = before.lagged
    return replace(
        before,
        level=before.level + level * innovation,
        drift=before.drift + drift * innovation,
        gain=before.gain + gain * innovation,
        noise=told * excess,
        excess=excess,
        memory=pace,
        trend=trend,
        outlier=outlier,
        jumped=int(jumped),
        level_level=before.level_level - level * before.level_level,
        level_drift=before.level_drift - level * before.level_drift,
        level_gain=before.level_gain - level * before.level_gain,
        drift_drift=before.drift_drift - 2 * drift * before.level_drift + drift**2 * variance + a * a * forgot,
        drift_gain=before.drift_gain
        - drift * before.level_gain
        - gain * (before.level_drift - drift * variance)
        + a * forgot,
        gain_gain=before.gain_gain - gain * before.level_gain + forgot,
        score=score,
        information=information,
    )


def wandered(now: E) -> E:
    """The estimate once level and drift have wandered from one measurement toward the next.

    By these variances a filter of level and drift alone follows a change within `memory` measurements.
    """
    return replace(
        now,
        level_level=now.level_level + now.noise / now.memory**2,
        drift_drift=now.drift_drift + now.noise / now.memory**4,
    )


def predicted(now: E, output: float, momentum: float) -> E:
    """The estimate one optimizer step later.

    Args:
        output: u of that step, positive where it lowers the entropy.
        momentum: beta.
    """
    a = momentum * now.lagged + (1 - momentum) * output
    # Covariance F P F' with level' = level + drift - a gain.
    level_drift = now.level_drift + now.drift_drift - a * now.drift_gain
    level_gain = now.level_gain + now.drift_gain - a * now.gain_gain
    level_level = now.level_level + now.level_drift - a * now.level_gain + level_drift - a * level_gain
    return replace(
        now,
        level=now.level + now.drift - a * now.gain,
        lagged=a,
        level_level=level_level,
        level_drift=level_drift,
        level_gain=level_gain,
    )
