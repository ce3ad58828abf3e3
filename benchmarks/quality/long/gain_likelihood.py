"""The gain of finished runs by maximum likelihood, beside what their controller believed: `gain_likelihood.py RUN ...`.

The plant is the controller's own (docs/theory.md), its level a random walk:

    a[t] = beta a[t-1] + (1 - beta) effort[t-2],    H[t] = H[t-1] + d - g a[t] + wander,    measured[t] = H[t] + noise

An effort found on one batch acts on the next, and shows in the one after it. Of each stretch of steps, the likelihood of its
measurements is taken at several gains g, each with the wander, the noise and the wander of the drift d that suit it best. All
of a stretch speaks at once, where the controller hears one batch after another. Rows go into `gain_likelihood.json`; an
interval holds the gains whose log-likelihood is within 2 of the best.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.optimize import minimize

from entrostat.control import SelfTuning
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.run.record import Run

OUT = Path(__file__).parent / "gain_likelihood.json"
MOMENTUM = SelfTuning.momentum
FIRST, LENGTH = 100, 500
GAINS = [0.002 * 1.25**power for power in range(16)]
"""Gains that are tried [nats per step and unit of effort]: 0.002 to 0.057."""
START = [math.log(each) for each in (1e-4, 4e-4, 1e-9)]


def surprise(log_variances: Sequence[float], measured: Sequence[float], lagged: Sequence[float], gain: float) -> float:
    """Minus the log-likelihood of a stretch, but for a constant, by a Kalman filter of level and drift."""
    wander, noise, bend = (math.exp(each) for each in log_variances)
    level, drift, total = measured[0], 0.0, 0.0
    level_level, level_drift, drift_drift = noise, 0.0, 1e-5
    for value, a in zip(measured[1:], lagged[1:], strict=True):
        level += drift - gain * a
        level_level += 2 * level_drift + drift_drift + wander
        level_drift += drift_drift
        drift_drift += bend
        variance, off = level_level + noise, value - level
        total += 0.5 * (math.log(variance) + off * off / variance)
        to_level, to_drift = level_level / variance, level_drift / variance
        level, drift = level + to_level * off, drift + to_drift * off
        drift_drift -= to_drift * level_drift
        level_level, level_drift = level_level * (1 - to_level), level_drift * (1 - to_level)
    return total


def fitted(measured: Sequence[float], lagged: Sequence[float]) -> dict[str, Any]:
    """The likeliest gain of a stretch, its interval, and the standard deviations of wander and noise that go with it."""
    found, at = [], START
    for gain in GAINS:
        best = minimize(surprise, at, (measured, lagged, gain), method="Nelder-Mead", options={"maxiter": 200})
        found.append((best.fun, float(gain), best.x))
        at = best.x
    least, gain, log_variances = min(found, key=lambda each: each[0])
    likely = [each for value, each, _ in found if value < least + 2]
    wander, noise, _ = (math.exp(each / 2) for each in log_variances)
    rounded = {"gain": gain, "low": min(likely), "high": max(likely), "wander": wander, "noise": noise}
    return {name: round(float(value), 4) for name, value in rounded.items()}


def of_run(folder: Path) -> list[dict[str, Any]]:
    """A row for each stretch of a run."""
    run = Run.load(folder)
    columns = {name: run.column(f"entropy_control/{name}") for name in ("measured", "effort", "gain")}
    steps, measured = columns["measured"]
    efforts, believed = columns["effort"][1], columns["gain"][1]
    lagged = [0.0, 0.0]
    for effort in efforts[:-2]:
        lagged.append(MOMENTUM * lagged[-1] + (1 - MOMENTUM) * effort)
    rows = []
    for first in range(FIRST, len(steps) - LENGTH // 2, LENGTH):
        part = slice(first, first + LENGTH)
        fit = fitted(list(measured[part]), lagged[part])
        rows.append(
            {"run": Path(folder).name, "steps": [steps[first], steps[min(first + LENGTH, len(steps)) - 1]]}
            | {"believed": round(fmean(believed[part]), 4)}
            | fit
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of `entrostat train`")
    options = parser.parse_args()
    record = json.loads(OUT.read_text()) if OUT.exists() else {"rows": []}
    for folder in options.runs:
        rows = of_run(folder)
        for row in rows:
            print(row, flush=True)
        kept = [row for row in record["rows"] if row["run"] != folder.name]
        record = {"environment": environment(), "momentum": MOMENTUM, "rows": [*kept, *rows]}
        write_json(OUT, record)


if __name__ == "__main__":
    main()
