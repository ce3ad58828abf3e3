"""The pictures of the players' runs: plain GRPO beside `hold` over the steps, and the gain of each level."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure
from scores import PLAIN, above_plain, score

from entrostat.report.figure import COLORS, HELD_COLOR, PLAIN_COLOR
from entrostat.run.compare import interval

SHOWN = {
    "plain": ("plain GRPO", PLAIN_COLOR, "-"),
    "hold-75%": ("hold at 75 %", HELD_COLOR, "--"),
    "anneal-linear": ("hold, 100 to 15 %", COLORS[2], "-."),
}
LEVELS = {"three numbers": "three numbers", "four numbers": "four numbers, right answers rare"}
ABOVE = {
    "greedy": ("greedy", "#6A3D9A", "-", "o"),
    "16": ("pass@16", "#0072B2", "--", "s"),
    "1": ("avg at temperature 1", "#D55E00", "-.", "^"),
}


def draw(rows: list[dict[str, Any]], window: int, path: Path) -> None:
    """Plain GRPO beside `hold`: entropy, groups whose rewards are all equal, and what is solved, over the steps."""
    figure = Figure(figsize=(9, 5.6), dpi=150, layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for arm, (label, color, style) in SHOWN.items():
        own = [row for row in rows if row["arm"] == arm]
        for axes, name in zip(panels[0], ("entropy", "without_spread"), strict=True):
            means = [fmean(values) for values in zip(*(row["windows"][name] for row in own), strict=True)]
            at = [window * (i + 0.5) for i in range(len(means))]
            axes.plot(at, means, color=color, linestyle=style, label=label, linewidth=1.8)
        if arm != PLAIN:
            targets = [fmean(values) for values in zip(*(row["windows"]["target"] for row in own), strict=True)]
            panels[0][0].plot(at, targets, color="black", linewidth=1, linestyle=(0, (2, 2)))
        steps = sorted(map(int, own[0]["judged"]))
        for axes, name in zip(panels[1], ("greedy", "16"), strict=True):
            means = [fmean(score(row, name, step) for row in own) for step in steps]
            axes.plot(steps, means, color=color, linestyle=style, label=label, linewidth=1.8, marker="o", markersize=4)
    titles = (
        ("policy entropy [nats per move]", "groups whose rewards are all equal"),
        ("held-out problems solved greedily", "held-out problems solved in 16 tries"),
    )
    for line, names in zip(panels, titles, strict=True):
        for axes, title in zip(line, names, strict=True):
            axes.set_title(title, fontsize=10, loc="left")
            axes.grid(alpha=0.25, linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[0]:
        axes.set_ylim(bottom=0)
    for axes in panels[1]:
        axes.set_xlabel("optimizer step")
    panels[1][0].legend(frameon=False, loc="lower right")
    figure.savefig(path)


def draw_levels(rows: list[dict[str, Any]], path: Path) -> None:
    """What each held level scores above plain GRPO from the same seed, with 95 % intervals over seeds."""
    figure = Figure(figsize=(9, 3.6), dpi=150, layout="constrained")
    for axes, (setting, title) in zip(figure.subplots(1, 2, sharey=True), LEVELS.items(), strict=True):
        own = [row for row in rows if row["setting"] == setting]
        held_at = {int(arm[5:-1]): arm for arm in {row["arm"] for row in own} if re.fullmatch(r"hold-\d+%", arm)}
        levels = sorted(held_at)
        for at, (name, (label, color, style, marker)) in enumerate(ABOVE.items()):
            above = [[100 * each for each in above_plain(own, held_at[level], name)] for level in levels]
            axes.errorbar(
                [level + at - 1 for level in levels],  # side by side, so that no interval hides another
                [fmean(each) for each in above],
                yerr=[interval(each)["half_width"] for each in above],
                label=label,
                color=color,
                linestyle=style,
                marker=marker,
                markersize=5,
                linewidth=1.8,
                elinewidth=1,
                capsize=3,
            )
        axes.axhline(0, color="black", linewidth=1)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("entropy held, % of the start's")
        axes.set_xticks(levels)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("points above plain GRPO")
    figure.axes[0].legend(frameon=False, loc="lower left")
    figure.savefig(path)
