"""Fewer points for the same picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
MOST = 1200
"""Points of one line: more than a screen has columns."""


def extremes(x: Values, y: Values, most: int = MOST) -> tuple[Values, Values]:
    """At most `most` points, in order: of each stretch of the line its lowest and its highest, so that no peak is lost.

    Args:
        x, y: (n,). Points whose y is NaN are left out first.
    """
    here = np.isfinite(y) & np.isfinite(x)
    x, y = x[here], y[here]
    if len(y) <= most:
        return x, y
    edges = np.linspace(0, len(y), most // 2 - 1, dtype=int)  # the first and the last point stay too
    picked = {0, len(y) - 1}
    for low, high in pairwise(edges):
        picked |= {int(low + np.argmin(y[low:high])), int(low + np.argmax(y[low:high]))}
    chosen = np.array(sorted(picked))
    return x[chosen], y[chosen]


def means(x: Values, columns: dict[str, Values], most: int = MOST // 4) -> tuple[Values, dict[str, Values]]:
    """At most `most` common points: the means of equal stretches, for columns that are stacked on each other."""
    here = np.isfinite(x) & np.all([np.isfinite(values) for values in columns.values()], axis=0)
    x, columns = x[here], {name: values[here] for name, values in columns.items()}
    if len(x) <= most:
        return x, columns
    edges = np.linspace(0, len(x), most + 1, dtype=int)
    counts = np.diff(edges)

    def mean(values: Values) -> Values:
        return np.add.reduceat(values, edges[:-1]) / counts

    return mean(x), {name: mean(values) for name, values in columns.items()}


def trend(y: Values, window: int) -> Values:
    """The running mean over `window` rows about each; at the ends, where the rows lie on one side, the line through them."""
    n = len(y)
    at = np.arange(n)
    low = np.maximum(at - window // 2, 0)
    high = np.minimum(at + window // 2 + 1, n)

    def mean(values: Values) -> Values:
        sums = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray((sums[high] - sums[low]) / (high - low))

    middle, center = mean(y), (low + high - 1) / 2
    spread = mean(at.astype(float) ** 2) - center**2
    slope = np.divide(mean(at * y) - center * middle, spread, out=np.zeros(n), where=spread > 0.1)
    return np.where(center == at, middle, middle + slope * (at - center))


def noise(y: Values) -> float:
    """The standard deviation of one measurement, from the differences of neighbors: what is slow cancels in them.

    Robust against single jumps (the median of their sizes). It holds the policy's own change from step to step too, so it is
    an upper bound of the batch's noise; 0 for fewer than three values.
    """
    differences = np.abs(np.diff(y))
    return float(np.median(differences) / 0.6745 / np.sqrt(2)) if len(differences) > 1 else 0.0
