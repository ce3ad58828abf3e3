"""The figure of one run, or of several from the same start: entropy against its target, output, reward, what is solved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from entrostat.run.folder import saving
from entrostat.run.record import Run
from entrostat.run.summary import MEASURED, TARGET

# Okabe and Ito: told apart with any color vision; the line styles tell them apart in print.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
PLAIN_COLOR, HELD_COLOR = COLORS[
    :2
]  # of plain GRPO and of `hold` in every picture that shows both, as the demonstration draws them
STYLES = ("-", "--", "-.", ":")
OUTPUT, GREEDY = "entropy_control/output", "eval/greedy"


def entropy_figure(runs: Sequence[Run], path: str | Path, labels: Sequence[str] | None = None) -> Path:
    """Draw the runs into a PNG, one color each; panels that no run has values for are left out.

    Raises:
        SaveError: the file cannot be written.
    """
    return saved(drawn(runs, labels), path)


def saved(figure: Figure, path: str | Path) -> Path:
    """Write a figure into a file; `SaveError` where it cannot be written."""
    with saving(Path(path)):
        figure.savefig(path)
    return Path(path)


def drawn(runs: Sequence[Run], labels: Sequence[str] | None = None) -> Figure:
    """The figure itself; panels from the top: entropy, output, reward, what is solved."""
    names = list(labels) if labels is not None else [run.name for run in runs]
    shown = (OUTPUT, "reward", GREEDY, _widest_pass(runs))
    panels = [MEASURED, *(key for key in shown if any(run.column(key)[0] for run in runs))]
    heights = [2.0 if key == MEASURED else 1.0 for key in panels]
    figure = Figure(figsize=(8, 1.2 + 1.7 * sum(heights)), dpi=150, layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for key, axes in zip(panels, all_axes, strict=True):
        for index, (run, name) in enumerate(zip(runs, names, strict=True)):
            style = {"color": COLORS[index % len(COLORS)], "linestyle": STYLES[index % len(STYLES)]}
            _line(axes, run, key, name, style)
        _dress(axes, key)
    _targets(all_axes[0], runs)
    _from_zero(all_axes[0])  # last: it fixes the limits at what has been drawn
    if all_axes[0].lines:
        all_axes[0].legend(loc="best", frameon=False)
    all_axes[-1].set_xlabel("optimizer step")
    whole_steps(all_axes[-1])
    return figure


def _from_zero(axes: Any) -> None:
    """The y axis from 0 to a tenth above everything drawn."""
    highest = axes.dataLim.y1
    axes.set_ylim(0, 1.1 * highest if math.isfinite(highest) and highest > 0 else 1)


def plain_frame(axes: Any) -> None:
    """A light grid, and no frame above and on the right."""
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def whole_steps(axes: Any) -> None:
    """Ticks at whole steps alone: there is no step 1.25."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _line(axes: Any, run: Run, key: str, name: str, style: dict[str, Any]) -> None:
    steps, values = run.column(key)
    if not steps:
        return
    if key != "reward":
        few = len(steps) < 10  # a line through one point is none
        dots = {"marker": "o", "markersize": 4} if few or key.startswith("eval/") else {}
        axes.plot(steps, values, label=name, linewidth=1.6, **dots, **style)
        return
    # The reward of one batch is noisy: its trend in front, the batches behind it.
    axes.plot(steps, values, linewidth=0.7, alpha=0.3, color=style["color"])
    axes.plot(steps, smoothed(values), label=name, linewidth=1.6, **style)


def _widest_pass(runs: Sequence[Run]) -> str:
    """The key of pass@k with the largest k that was measured at the training temperature on held-out problems."""
    keys = {key for run in runs for row in run.metrics for key in row if key.startswith("eval/pass@")}
    return max(keys, key=lambda key: int(key.partition("@")[2]), default="eval/pass@1")


def _targets(axes: Any, runs: Sequence[Run]) -> None:
    drawn: list[tuple[list[int], list[float]]] = []
    for run in runs:
        target = run.column(TARGET)
        if target[0] and target not in drawn:
            label = "target" if not drawn else None
            axes.plot(*target, color="black", linewidth=1.2, linestyle=(0, (2, 2)), label=label, zorder=3)
            drawn.append(target)


def _dress(axes: Any, key: str) -> None:
    labels = {MEASURED: "policy entropy\n[nats per token]", OUTPUT: "controller's\noutput", "reward": "reward"}
    labels[GREEDY] = "held-out, greedy:\nsolved"
    axes.set_ylabel(labels.get(key) or f"held-out, {key[5:]}:\nsolved")
    plain_frame(axes)
    if key == OUTPUT:
        axes.axhline(0, color="gray", linewidth=0.8)


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average of weight 0.9, free of the pull of its first value."""
    total = norm = 0.0
    means = []
    for value in values:
        total, norm = 0.9 * total + value, 0.9 * norm + 1.0
        means.append(total / norm)
    return means
