"""The figure of a response: entropy against its target, the controller's output, and what changed when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from entrostat.control.response import Response, centered_mean
from entrostat.report.figure import COLORS, plain_frame, saved, smoothed, whole_steps

_GROUND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}  # words stay legible on a curve


def response_figure(
    path: str | Path,
    measured: Sequence[float],
    target: Sequence[float],
    output: Sequence[float],
    *,
    numbers: Response | None = None,
    window: int = 1,
    limits: tuple[float, float] | None = None,
    events: Mapping[int, str] | None = None,
    reward: Sequence[float] = (),
) -> Path:
    """Draw one loop into a PNG.

    Args:
        measured, output: at each step; `target` too, or empty where there is none.
        numbers: whose band and settling time are drawn.
        window: steps whose mean the band is for; the mean is drawn too, since single steps leave the band.
        limits: of the output, drawn where they are in sight.
        events: step -> what changed there.
        reward: mean reward of each step's batch; no panel where there is none.

    Raises:
        SaveError: the file cannot be written.
    """
    heights = [2.0, 1.0] + ([1.0] if reward else [])
    figure = Figure(figsize=(8, 1.2 + 1.5 * sum(heights)), dpi=110, layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights})
    _entropy(axes[0], measured, target, numbers, window)
    _output(axes[1], output, limits or ())
    if reward:
        axes[2].plot(range(len(reward)), reward, linewidth=0.6, alpha=0.3, color=COLORS[0])
        axes[2].plot(range(len(reward)), smoothed(reward), linewidth=1.4, color=COLORS[0])
        axes[2].set_ylabel("reward")
    for step, words in (events or {}).items():
        for each in axes:
            each.axvline(step, color=COLORS[3], linewidth=0.9, linestyle="--")
        _beside(axes[0], words, (step, 0.97), xytext=(3, 0), va="top", fontsize=8, color="#333333")
    for each in axes:
        plain_frame(each)
    axes[-1].set_xlabel("optimizer step")
    whole_steps(axes[-1])
    return saved(figure, path)


def _entropy(
    axes: Any, measured: Sequence[float], target: Sequence[float], numbers: Response | None, window: int
) -> None:
    """The curve and its target, with the band and the step from which the curve, or its mean, stays in it."""
    steps = range(len(measured))
    averaged = window > 1 and numbers is not None and len(target) > 0
    width = {"linewidth": 0.8, "alpha": 0.4} if averaged else {"linewidth": 1.2}
    axes.plot(steps, measured, color=COLORS[0], label="measured", **width)
    if averaged:
        mean = centered_mean([a - b for a, b in zip(measured, target, strict=True)], window)
        course = [wanted + error for wanted, error in zip(target, mean, strict=True)]
        axes.plot(steps, course, color=COLORS[0], linewidth=1.4, label=f"mean over {window} steps")
    if target:
        axes.plot(steps, target, color="black", linewidth=1.2, linestyle=(0, (2, 2)), label="target")
    if numbers is not None and target:
        low, high = ([wanted + side * numbers.band for wanted in target] for side in (-1, 1))
        axes.fill_between(steps, low, high, color="gray", alpha=0.25, linewidth=0, label="counts as settled")
        if numbers.settling is not None:
            axes.axvline(numbers.settling, color=COLORS[2], linewidth=1.2)
            words = f"settled after {numbers.settling}"
            _beside(axes, words, (numbers.settling, 0.88), xytext=(4, 0), color=COLORS[2])
    axes.set_ylabel("policy entropy\n[nats per token]")
    axes.legend(loc="best", frameon=False)


def _output(axes: Any, output: Sequence[float], limits: Sequence[float]) -> None:
    axes.plot(range(len(output)), output, color=COLORS[1], linewidth=1.2)
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.set_ylabel("controller's\noutput")
    for limit in limits:
        if min(output) <= limit <= max(output):
            axes.axhline(limit, color=COLORS[1], linewidth=0.8, linestyle=":")


def _beside(axes: Any, words: str, at: tuple[float, float], **style: Any) -> None:
    """Words beside a step, at a share of the panel's height."""
    axes.annotate(words, at, xycoords=("data", "axes fraction"), textcoords="offset points", bbox=_GROUND, **style)
