"""Rules about a controller: its limits, its integral, its authority, its target."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from entrostat.diagnosis.curve import running_median
from entrostat.diagnosis.evidence import Evidence, Facts
from entrostat.diagnosis.findings import FEWEST


def _at_limit(facts: Facts) -> np.ndarray | None:
    """For every row, 1 or -1 where the output stands at its upper or lower limit; None where there is no output.

    Where the log does not say it: at the largest or smallest output of the run, if it stands there several rows on end.
    """
    run = facts.run
    output = run["output"]
    if "saturated" in run:
        return np.nan_to_num(run["saturated"])
    finite = output[np.abs(output) < 1e100]
    if len(finite) < 20 or np.ptp(finite) == 0:
        return None
    high, low = finite.max(), finite.min()
    rows = (output == high).astype(float) - (output == low).astype(float)
    return rows if (np.abs(rows[1:]) * (rows[1:] == rows[:-1])).sum() >= 5 else np.zeros(len(output))


def at_its_limit(facts: Facts) -> Evidence | None:
    """E201: at a limit in at least half of the last half's rows."""
    limit = _at_limit(facts)
    if limit is None or len(limit) < FEWEST["E201"]:
        return None
    tail = limit[len(limit) // 2 :]
    share = float(np.abs(tail).mean())
    if share < 0.5:
        return None
    steps = facts.run.steps[len(limit) // 2 :]
    text = f"In {share:.0%} of the steps of the second half the output was at its limit."
    return Evidence(min(0.95, 0.4 + 0.6 * share), text, (float(steps[0]), float(steps[-1])), "output", {"share": share})


def windup(facts: Facts) -> Evidence | None:
    """E202: after ten rows at a limit the error changes its sign, and the output stays at the same limit for as long as a
    quarter of them; with an integral in the log, it has grown meanwhile."""
    run, limit = facts.run, _at_limit(facts)
    error = run["entropy"] - run["target"]
    if limit is None or len(limit) < FEWEST["E202"] or not np.isfinite(error).any():
        return None
    smooth = running_median(np.nan_to_num(error), 2)
    integral = run["integral"]
    worst: tuple[int, int, int] | None = None
    for low, high in _stretches(limit):
        signs = np.sign(smooth[low:high])
        turned = np.flatnonzero(signs == -signs[0])
        if not len(turned):
            continue
        held = high - low - int(turned[0])
        grown = abs(integral[low + turned[0]]) - abs(integral[low])
        if turned[0] >= 10 and held >= max(5, turned[0] // 4) and not grown <= 0 and (worst is None or held > worst[2]):
            worst = (low, low + int(turned[0]), held)
    if worst is None:
        return None
    low, at, held = worst
    text = (
        f"The output was at its limit from step {run.steps[low]:g}. The error changed its sign at step {run.steps[at]:g}, and "
        f"the output stayed at the limit for {held} rows more."
    )
    return Evidence(
        0.8, text, (float(run.steps[low]), float(run.steps[at + held - 1])), "output", {"rows": float(held)}
    )


def no_authority(facts: Facts) -> Evidence | None:
    """E203: the range that the output commands is small beside the change that has to be countered; or the estimator has said
    that it cannot tell the output's effect."""
    run = facts.run
    if "output" not in run and "saturated" not in run:
        return None
    steps = facts.span if len(run) else (0.0, 0.0)
    low, high, now = (facts.curve(name).values for name in ("authority_low", "authority_high", "predicted"))
    if min(len(low), len(high), len(now)) >= FEWEST["E203"] and len(low) == len(high):
        reach, drift = float(np.median(np.abs(high - low))), float(np.median(np.abs((high + low) / 2)))
        if reach < 0.5 * drift:
            text = (
                f"Predicted change of entropy per update: the output can move it by {reach:.2g} between its limits, and the "
                f"update alone moves it by {drift:.2g}."
            )
            return Evidence(0.85, text, steps, "entropy", {"reach": reach, "drift": drift})
    told = facts.curve("identified")
    if len(told) >= 20:
        share = float((told.last(1 / 3).values == -1).mean())
        if share >= 0.5:
            text = f"In {share:.0%} of the steps of the last third the controller could not tell its effect from noise."
            return Evidence(0.7, text, steps, "entropy", {"share": share})
    return None


def out_of_reach(facts: Facts) -> Evidence | None:
    """E204: over the last half the error keeps its sign, is large, and does not shrink."""
    run = facts.run
    error = run["entropy"] - run["target"]
    rows = np.flatnonzero(np.abs(error) < 1e100)
    if len(rows) < FEWEST["E204"]:
        return None
    half = error[rows][len(rows) // 2 :]
    steps = run.steps[rows][len(rows) // 2 :]
    mean, target = float(half.mean()), float(np.abs(run["target"][rows]).mean())
    one_side = float((np.sign(half) == np.sign(mean)).mean())
    first, last = (abs(float(part.mean())) for part in np.array_split(half, 2))
    if one_side < 0.9 or abs(mean) < max(0.1 * target, 2 * facts.entropy.noise) or last < 0.8 * first:
        return None
    where = "above" if mean > 0 else "below"
    text = (
        f"Over the second half the entropy was {abs(mean):.3g} nats {where} its target "
        f"({abs(mean) / max(target, 1e-9):.0%} of it) and came no nearer."
    )
    numbers = {"mean_error": mean, "first": first, "last": last}
    confidence = (
        0.95
        if float((facts.curve("reachable").last(0.5).values == 0).mean() if "reachable" in run else 0) > 0.5
        else 0.8
    )
    return Evidence(confidence, text, (float(steps[0]), float(steps[-1])), "entropy", numbers)


def _stretches(limit: np.ndarray) -> list[tuple[int, int]]:
    """(first, end) of the rows at one and the same limit, ten and more on end."""
    edges = np.flatnonzero(np.diff(limit) != 0) + 1
    bounds = [0, *edges.tolist(), len(limit)]
    pairs = pairwise(bounds)
    return [(low, high) for low, high in pairs if high - low >= 10 and abs(limit[low]) > 0.5]
