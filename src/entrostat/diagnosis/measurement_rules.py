"""Rules about the measurement: its noise, its units, what it is of, what the log lacks."""

from __future__ import annotations

import math

import numpy as np

from entrostat.diagnosis.curve import deviation
from entrostat.diagnosis.evidence import Evidence, Facts
from entrostat.diagnosis.findings import FEWEST


def noisy(facts: Facts) -> Evidence | None:
    """E401: the noise of one row is a sixth of the level or more, and most of all that the curve shows."""
    entropy = facts.entropy
    if len(entropy) < FEWEST["E401"]:
        return None
    level, total = abs(float(np.median(entropy.values))), float(entropy.values.std())
    if total == 0 or level == 0 or entropy.noise < level / 6 or entropy.noise < 0.6 * total:
        return None
    share = min(1.0, (entropy.noise / total) ** 2)
    text = (
        f"Single rows scatter about the trend by {entropy.noise:.2g} nats, {entropy.noise / level:.0%} of the entropy. "
        f"This noise makes {share:.0%} of the curve's variance."
    )
    return Evidence(0.8, text, entropy.span, "entropy", {"noise": entropy.noise, "level": level, "share": share})


def not_sampled(facts: Facts) -> Evidence | None:
    """E402: mean surprisal less entropy, or mean D, lies further from 0 than chance allows, and far enough to matter."""
    run = facts.run
    gap = run["surprisal"] - run["entropy"]
    gap = gap[np.abs(gap) < 1e100]
    if len(gap) >= FEWEST["E402"]:
        mean, error = float(gap.mean()), float(gap.std(ddof=1) / math.sqrt(len(gap)))
        level = float(np.nanmean(run["entropy"]))
        if abs(mean) > max(6 * error, 0.05 * level, 1e-3):
            text = (
                f"The sampled tokens' surprisal is {mean:+.3g} nats away from the entropy, "
                f"{abs(mean) / max(error, 1e-12):.0f} standard errors."
            )
            return Evidence(0.9, text, facts.span, "surprisal", {"gap": mean, "error": error})
    centered = facts.curve("centered")
    if len(centered) >= FEWEST["E402"]:
        mean, error = float(centered.values.mean()), float(centered.values.std(ddof=1) / math.sqrt(len(centered)))
        if abs(mean) > max(8 * error, 0.01):
            text = (
                f"The centered discriminator averages {mean:+.3g} over the sampled tokens, "
                f"{abs(mean) / max(error, 1e-12):.0f} standard errors from 0."
            )
            return Evidence(0.8, text, centered.span, "centered", {"mean": mean, "error": error})
    return None


def units_change(facts: Facts) -> Evidence | None:
    """E403: one step by a factor that stays: far beyond the noise, with a flat course on either side, the reward unmoved."""
    entropy = facts.entropy
    if len(entropy) < FEWEST["E403"] or entropy.values.min() <= 0:
        return None
    log = np.log(entropy.values)
    jumps = np.diff(log)
    usual = deviation(jumps) + 1e-6
    width = 8
    best: tuple[float, int] | None = None
    for at in np.flatnonzero(np.abs(jumps) > max(6 * usual, 0.25)).tolist():
        if at < 4 or at > len(log) - 6:
            continue
        before, after = log[max(0, at + 1 - width) : at + 1], log[at + 1 : at + 1 + width]
        shift = float(np.median(after) - np.median(before))
        drift = max(abs(_slope(before)), abs(_slope(after))) * width
        apart = (shift > 0 and before.max() < after.min()) or (shift < 0 and before.min() > after.max())
        sudden = abs(shift - jumps[at]) < 0.35 * abs(shift)
        if apart and sudden and abs(shift) > max(0.3, 6 * usual, 2 * drift, abs(best[0]) if best else 0):
            best = (shift, at)
    if best is None:
        return None
    shift, at = best
    here = facts.curve("grad_norm").since(float(entropy.steps[at])).values[:width]
    if len(here) and np.median(here) == 0:
        return None  # of a policy that no longer moves; the sampling alone jumps
    factor = math.exp(shift)
    name, known = _known_factor(factor, facts, float(entropy.steps[at + 1]))
    if not known and (abs(shift) < 0.6 or _reward_moved(facts, float(entropy.steps[at]))):
        return None
    text = (
        f"From step {entropy.steps[at]:g} to {entropy.steps[at + 1]:g} the entropy changes by a factor "
        f"of {factor:.3g} and stays there{name}."
    )
    steps = (float(entropy.steps[at]), float(entropy.steps[at + 1]))
    return Evidence(0.85 if known else 0.6, text, steps, "entropy", {"factor": factor})


def _slope(values: np.ndarray) -> float:
    return float(np.polyfit(np.arange(len(values)), values, 1)[0]) if len(values) > 2 else 0.0


def _known_factor(factor: float, facts: Facts, step: float) -> tuple[str, bool]:
    size = max(factor, 1 / factor)
    if abs(size / (1 / math.log(2)) - 1) < 0.06:
        return ", the factor between bits and nats", True
    length = facts.curve("length").since(step)
    if len(length) and abs(size / max(float(np.median(length.values[:8])), 1e-9) - 1) < 0.3 and size > 4:
        return ", about the length of a completion: the factor between a sum and a mean over tokens", True
    return "", False


def _reward_moved(facts: Facts, step: float) -> bool:
    reward = facts.reward
    before, after = reward.until(step).values[-8:], reward.since(step).values[1:9]
    if min(len(before), len(after)) < 4:
        return False
    return bool(abs(np.median(after) - np.median(before)) > 3 * max(reward.noise, 1e-9))


def restarts(facts: Facts) -> Evidence | None:
    """E404: the reader saw the steps go back, or begin again."""
    notes = [note for code in ("restarts", "several-runs") if (note := facts.run.noted(code))]
    if not notes:
        return None
    at = notes[0].steps or facts.span
    text = ". ".join(note.text[:1].upper() + note.text[1:] for note in notes) + "."
    return Evidence(1.0, text, (min(at), max(at)), "", {"places": float(len(notes[0].steps))})


def no_entropy(facts: Facts) -> Evidence | None:
    """E405: no column of the log is an entropy per token."""
    note = facts.run.noted("no-entropy")
    if note is None or not len(facts.run):
        return None
    return Evidence(1.0, note.text[:1].upper() + note.text[1:] + ".", facts.span, "")


def not_finite(facts: Facts) -> Evidence | None:
    """E406: NaN or infinity in what the run stands on."""
    note = facts.run.noted("not-finite-core")
    if note is None or not len(facts.run):
        return None
    return Evidence(0.95, note.text[:1].upper() + note.text[1:] + ".", facts.span, "")
