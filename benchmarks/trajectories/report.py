"""`results.json` as a page and a picture: `python benchmarks/trajectories/report.py` writes README.md and tracking.png.

And the table of docs/targets.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).parents[1]))

from common.markdown import cell, fill_pages, machine, table

HERE = Path(__file__).parent
COLOURS = {
    "flow, PI": "#D55E00",
    "flow, PI with feed-forward": "#0072B2",
    "flow, self-tuning": "#009E73",
    "hold": "#6A3D9A",
}

INTRODUCTION = """# Following a trajectory

Written by `report.py` from `results.json`, which `run.py` makes; every run's overrides and series are in it. The tiny
policy on countdown, GRPO, AdamW, constant learning rate 1e-4, 48 prompts x 8 completions a step, 60 steps, seeds
{seeds}. The PI controllers have kp 20 and ki 0.4; feed-forward is 1 / g with g = {gain} nats per step and unit of output, as
`entrostat tune` identifies it from the PI run "hold, then decay" of seed 0. Self-tuning, also inside `hold`, is given a
settling time of 30 steps. Levels are fractions of the initial entropy, {initial} nats.

Errors are of each step's measured entropy against its target, so they include the batch's own noise. The lag is the mean,
over the steps at which the target moves, of how far the entropy is behind it (negative: ahead); noise averages out of it.
Values are mean ± standard deviation over the seeds.

![Mean entropy over seeds against the target](tracking.png)

"""


def tracking(rows: list[dict[str, Any]]) -> str:
    """The table."""
    header = ["trajectory", "method", "rms error", "mean error", "lag", "saturated", "reward at the end"]
    body = [
        [
            row["trajectory"],
            row["method"],
            *(cell(row[name], digits=4) for name in ("rms_error", "mean_error", "lag")),
            cell(row["saturated_share"], percent=True),
            cell(row["reward_end"]),
        ]
        for row in rows
    ]
    return table(header, body)


def excerpts(record: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What the project's pages show of it: page -> place -> table."""
    return {"docs/targets.md": {"trajectories": tracking(record["rows"])}}


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    rows, initial = record["rows"], [run["measured"][0] for run in record["runs"]]
    seeds = sorted({seed for row in rows for seed in row["seeds"]})
    head = INTRODUCTION.format(
        seeds=", ".join(map(str, seeds)), gain=record["gain"], initial=f"{min(initial):.3f} to {max(initial):.3f}"
    )
    return head + tracking(rows) + f"\n\nMachine: {machine(record['environment'])}\n"


def figure(record: dict[str, Any], path: Path) -> None:
    """A panel for each trajectory: the mean over seeds of its target, and of the entropy under each method."""
    trajectories = list(dict.fromkeys(row["trajectory"] for row in record["rows"]))
    canvas = Figure(figsize=(9, 3.2), dpi=150, layout="constrained")
    panels = canvas.subplots(1, len(trajectories), sharey=True, squeeze=False)[0]
    for axes, trajectory in zip(panels, trajectories, strict=True):
        for method, colour in COLOURS.items():
            runs = [run for run in record["runs"] if (run["trajectory"], run["method"]) == (trajectory, method)]
            if not runs:
                continue
            target, measured = (
                [fmean(v) for v in zip(*(r[k] for r in runs), strict=True)] for k in ("target", "measured")
            )
            axes.plot(target, color="black", linewidth=1.0, linestyle=(0, (2, 2)))
            axes.plot(measured, color=colour, linewidth=1.4, label=method)
        axes.set(xlabel="optimizer step", title=trajectory)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("policy entropy [nats per token]")
    panels[0].legend(frameon=False, loc="lower left", fontsize=8)
    canvas.savefig(path)


def main() -> None:
    record = json.loads((HERE / "results.json").read_text())
    (HERE / "README.md").write_text(page(record))
    fill_pages(excerpts(record))
    figure(record, HERE / "tracking.png")


if __name__ == "__main__":
    main()
