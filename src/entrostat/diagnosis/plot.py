"""A curve in a few lines of text."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from entrostat.diagnosis.findings import Finding
from entrostat.logs import Run

_BARS = " ▁▂▃▄▅▆▇█"
_FILLED = 8


def plot(run: Run, finding: Finding, width: int = 60, height: int = 4) -> list[str]:
    """The column that shows a finding, with its evidence marked under it; empty where there is none to draw.

    Each character is the mean of the rows under it, of a gradient the largest, so that a spike keeps its height. The left
    margin holds the highest and the lowest.
    """
    if finding.quantity not in run:
        return []
    values, steps = run[finding.quantity], run.steps
    finite = np.abs(values) < 1e100
    if finite.sum() < 3:
        return []
    values, steps = values[finite], steps[finite]
    width = min(width, len(values))
    bounds = np.linspace(0, len(values), width + 1).astype(int)
    taken = np.max if finding.quantity == "grad_norm" else np.mean
    heights = np.array([taken(values[low:high]) for low, high in pairwise(bounds)])
    low, high = float(heights.min()), float(heights.max())
    if not (math.isfinite(high - low)):
        return []
    fill = (heights - low) / (high - low) * (height * _FILLED - 1) + 1 if high > low else np.full(width, _FILLED)
    lines = []
    for row in range(height - 1, -1, -1):
        cells = np.clip(np.round(fill) - row * _FILLED, 0, _FILLED).astype(int)
        label = f"{high:9.3g}" if row == height - 1 else f"{low:9.3g}" if row == 0 else " " * 9
        lines.append(f"{label} {''.join(_BARS[cell] for cell in cells)}")
    first, last = (int(np.searchsorted(steps, step)) for step in finding.steps)
    marked = [bounds[i] <= last and bounds[i + 1] > first for i in range(width)]
    lines.append(f"{' ' * 9} {''.join('^' if each else ' ' for each in marked)}".rstrip())
    ends = f"{steps[0]:g}", f"step {steps[-1]:g}"
    lines.append(f"{' ' * 9} {ends[0]}{ends[1]:>{max(1, width - len(ends[0]))}}")
    return lines
