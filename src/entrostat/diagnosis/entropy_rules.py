"""Rules about the entropy's course. A fault shows in reward, length and gradient together; entropy alone is none."""

from __future__ import annotations

import numpy as np

from entrostat.diagnosis.curve import Curve
from entrostat.diagnosis.evidence import Evidence, Facts
from entrostat.diagnosis.findings import FEWEST


def collapse(facts: Facts) -> Evidence | None:
    """E101: entropy at the end under a third of its start, and the learning gone with it."""
    entropy, outcome = facts.entropy, facts.outcome
    if len(entropy) < FEWEST["E101"] or entropy.start <= 0 or facts.learned or facts.solved:
        return None
    start = max(entropy.start, float(entropy.values[0]))
    share = entropy.end / start
    if share > 1 / 3 or start - entropy.end < 3 * entropy.error:
        return None
    signs = {
        "the reward fell from its best and stayed down": outcome.known and outcome.lost,
        "the reward gained nothing": outcome.known and not outcome.gained and not outcome.lost,
        "the gradient is exactly 0 in most steps": facts.still >= 0.5,
        "most groups have no spread": facts.no_spread >= 0.7,
        "the completions shrank": facts.shrunk <= 0.25,
    }
    seen = [text for text, holds in signs.items() if holds]
    # A reward that gained nothing is weak: a hard task does that, too.
    weight = len(seen) - 0.5 * ("the reward gained nothing" in seen)
    if weight < 1:
        return None
    low = entropy.smooth < start / 3
    at = float(entropy.steps[int(np.argmax(low))])
    text = (
        f"The entropy fell from {start:.3g} to {entropy.end:.3g} nats, below a third of its start by "
        f"step {at:g}; {_joined(seen)}."
    )
    target = facts.curve("target")
    if len(target) and target.end < start / 3:  # to hold it, which the advice names, is what made it fall
        text += f" Its target asks for that ({target.end:.3g} nats at the end): set a higher one."
    numbers = {"entropy_start": start, "entropy_end": entropy.end, "share": share}
    return Evidence(min(0.95, 0.45 + 0.2 * weight), text, (at, float(entropy.steps[-1])), "entropy", numbers)


def explosion(facts: Facts) -> Evidence | None:
    """E102: entropy above two and a half times its start or lowest level, and the reward lost from there on."""
    entropy, reward = facts.entropy, facts.reward
    if len(entropy) < FEWEST["E102"] or entropy.start <= 0:
        return None
    top = entropy.peak
    high = float(entropy.smooth[top])
    before = entropy.smooth[: top + 1]
    low = float(before.min())
    base = max(min(entropy.start, float(np.median(before[: max(1, top // 2)]))), 1e-3)
    if high < 2 * base or high - low < max(0.3, 3 * entropy.error):
        return None
    began = (
        float(entropy.steps[int(np.flatnonzero(before <= base)[-1])])
        if (before <= base).any()
        else float(entropy.steps[0])
    )
    fall = _fall(reward, began)
    if fall is None:
        if len(reward) or high < 3:
            return None
        text = (
            f"The entropy rose from {base:.3g} to {high:.3g} nats. No reward is logged, so the rise cannot be judged."
        )
        return Evidence(
            0.5, text, (began, float(entropy.steps[top])), "entropy", {"base": base, "high": high}, "warning"
        )
    if fall < 0.5:
        return None
    text = f"The entropy rose from {base:.3g} to {high:.3g} nats while the reward lost {fall:.0%} of what it had."
    numbers = {"base": base, "high": high, "reward_lost": fall}
    return Evidence(min(0.95, 0.5 + 0.5 * fall), text, (began, float(entropy.steps[-1])), "entropy", numbers)


def rising_while_reward_falls(facts: Facts) -> Evidence | None:
    """E103: over the last half, entropy up and reward down, each beyond its error."""
    if min(len(facts.entropy), len(facts.reward)) < FEWEST["E103"] or explosion(facts) is not None:
        return None
    entropy, reward = facts.entropy.last(0.5), facts.reward.last(0.5)
    up, up_error = entropy.trend()
    down, down_error = reward.trend()
    span = float(np.ptp(facts.reward.smooth))
    if up < max(4 * up_error, 0.25 * entropy.start) or -down < max(4 * down_error, 0.2 * span):
        return None
    text = f"Over the second half the entropy rose by {up:.3g} nats and the reward fell by {-down:.3g}."
    return Evidence(0.7, text, entropy.span, "entropy", {"entropy_change": up, "reward_change": down})


def exhausted(facts: Facts) -> Evidence | None:
    """E104: R = -a exp(H) + b fits, the entropy is nearly spent, and what it could still buy is small (2505.22617, eq. 1)."""
    run = facts.run
    both = np.isfinite(run["entropy"]) & np.isfinite(run["reward"])
    if both.sum() < FEWEST["E104"] or not facts.outcome.gained:
        return None
    fit = fit_law(Curve(run.steps[both], run["entropy"][both]), Curve(run.steps[both], run["reward"][both]))
    a, b, explained, left = fit["a"], fit["b"], fit["explained"], fit["left"]
    spent = facts.entropy.end < 0.25 * max(facts.entropy.start, float(facts.entropy.values[0]))
    if not (a > 0 and explained > 0.7 and spent and left < 0.1):
        return None
    text = (
        f"The reward has followed R = -{a:.3g} exp(H) + {b:.3g} (it explains {explained:.0%} of the smoothed reward). "
        f"With {facts.entropy.end:.3g} nats left, it allows a further gain of {left:.0%} of the gain so far. Other data, a "
        f"controller or a bonus change the law."
    )
    steps = (float(run.steps[both][0]), float(run.steps[both][-1]))
    return Evidence(min(0.9, explained), text, steps, "reward", fit)


def fit_law(entropy: Curve, reward: Curve) -> dict[str, float]:
    """Least squares for R = -a exp(H) + b on smoothed curves, a few values per edge.

    Returns:
        a, b; explained: share of the variance; left: the gain that entropy 0 would add, over the gain so far.
    """
    x, y = np.exp(np.minimum(entropy.smooth, 20)), reward.smooth
    thin = slice(None, None, max(1, entropy.edge // 2))
    x, y = x[thin], y[thin]
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"a": 0.0, "b": float(y.mean()), "explained": 0.0, "left": np.inf}
    slope, b = np.polyfit(x, y, 1)
    explained = 1 - float(np.var(y - (slope * x + b)) / np.var(y))
    gained = float(np.ptp(y))
    left = -slope * (float(x[-3:].mean()) - 1) / gained
    return {"a": float(-slope), "b": float(b), "explained": explained, "left": float(left)}


def swings(facts: Facts) -> Evidence | None:
    """E105: the entropy, less its slow course or its target, repeats itself with a period of 5 rows to a quarter of the run."""
    run, entropy = facts.run, facts.entropy
    n = len(entropy)
    if n < FEWEST["E105"]:
        return None
    target = run["target"][np.isfinite(run["entropy"])]
    wave = entropy.values - (target if np.isfinite(target).all() else _slow(entropy.values))
    wave = wave[n // 5 :]  # the approach to a target is no swing
    wave = wave - wave.mean()
    spread = float(wave.std())
    if spread == 0:
        return None
    period, strength, opposite = _period(wave)
    size = np.sqrt(2) * spread * np.sqrt(max(strength, 0))
    if (
        period is None
        or strength < 0.5
        or opposite > -0.35
        or size < max(0.08 * abs(entropy.values.mean()), 1.5 * entropy.noise)
    ):
        return None
    text = f"The entropy swings by {size:.3g} nats to either side with a period of {period:.0f} rows."
    steps = (float(entropy.steps[n // 5]), float(entropy.steps[-1]))
    return Evidence(
        min(0.95, strength + 0.2), text, steps, "entropy", {"amplitude": float(size), "period": float(period)}
    )


def _period(wave: np.ndarray) -> tuple[int | None, float, float]:
    """The lag of the first maximum of the autocorrelation after its first minimum; its height, and the minimum's."""
    n = len(wave)
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(wave, size)) ** 2
    correlation = np.fft.irfft(power, size)[: n // 3 + 1]
    correlation = correlation / correlation[0] * n / (n - np.arange(len(correlation)))
    below = np.flatnonzero(correlation < 0)
    if not len(below):
        return None, 0.0, 0.0
    after = correlation[below[0] :]
    lag = int(np.argmax(after)) + int(below[0])
    if lag < 5:
        return None, 0.0, 0.0
    return lag, float(correlation[lag]), float(correlation[:lag].min())


def _slow(values: np.ndarray) -> np.ndarray:
    """A running mean over a third of the rows: the course that a swing goes about."""
    width = max(3, len(values) // 3) | 1
    padded = np.pad(values, width // 2, mode="edge")
    total = np.cumsum(np.concatenate([[0.0], padded]))
    return (total[width:] - total[:-width]) / width


def _fall(reward: Curve, since: float) -> float | None:
    """How much of the reward's best before the end, up to and after a step, is lost at the end; None without a reward."""
    if len(reward) < 6:
        return None
    start = min(reward.start, float(reward.values.min())) if reward.values.min() < 0 else 0.0
    best = max(float(reward.until(since).smooth.max(initial=-np.inf)), float(reward.smooth.max()))
    end = reward.end
    if best <= start or best - end < 3 * reward.error:
        return 0.0
    return float((best - end) / (best - start))


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
