"""The stability map: which gains hold the entropy, how fast, and where the chosen ones lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from entrostat.report.figure import COLORS, saved

_LEVELS = (5, 10, 20, 30, 40, 60, 80, 120, 240, 480)


def stability_figure(
    path: str | Path,
    kp: Sequence[float],
    ki: Sequence[float],
    taus: Sequence[Sequence[float]],
    edges: Mapping[str, Sequence[float]],
    points: Mapping[str, tuple[float, float]],
) -> Path:
    """Draw the plane of gains into a PNG.

    Args:
        kp, ki: the gains of the grid, rising.
        taus: for each ki a row with, for each kp, the time constant of the slowest pole [optimizer steps]; not a number
            where the loop is unstable.
        edges: label -> the largest stable ki for each kp; NaN where there is none. The first is that of the estimated gain.
        points: label -> (kp, ki).

    Raises:
        SaveError: the file cannot be written.
    """
    figure = Figure(figsize=(7, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    finite = [tau for row in taus for tau in row if tau == tau]
    levels = [level for level in _LEVELS if finite and min(finite) < level < max(finite)]
    if levels:
        shades = LogNorm(min(finite), 1000)
        axes.contourf(
            kp, ki, taus, [min(finite) * 0.99, *levels], norm=shades, cmap="viridis_r", alpha=0.5, extend="max"
        )
        lines = axes.contour(kp, ki, taus, levels=levels, colors="gray", linewidths=0.7)
        axes.clabel(lines, fmt="%g steps", fontsize=7)
    for index, (label, edge) in enumerate(edges.items()):
        look: dict[str, Any] = {"linewidth": 1.1, "linestyle": "--"} if index else {"linewidth": 1.6}
        axes.plot(kp, edge, color=COLORS[1], label=label, **look)
    for index, (label, (x, y)) in enumerate(points.items()):
        look = {"marker": "o*sD^v"[index % 6], "color": COLORS[(2 * index) % 6]}
        axes.plot([x], [y], markersize=8, linestyle="none", label=label, **look)
    axes.set_xlim(min(kp), max(kp))
    axes.set_ylim(min(ki), max(ki))
    axes.set_xlabel("kp [output per nat]")
    axes.set_ylabel("ki [output per nat and step]")
    axes.set_title("time constant of the slowest mode; unstable beyond the line", fontsize=10)
    if axes.lines:
        axes.legend(loc="upper right", fontsize=8, framealpha=0.9)
    axes.spines[["top", "right"]].set_visible(False)
    return saved(figure, path)
