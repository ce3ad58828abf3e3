"""`results.json` as a page and a picture: `python benchmarks/quality/prediction/report.py` writes README.md, scatter.png."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).parents[2]))

from common.markdown import machine, table

from entrostat.report.figure import PLAIN_COLOR

HERE = Path(__file__).parent
COLORS = {"observe": PLAIN_COLOR, "flow": "#D55E00"}

PAGE = """# How well a step's change of entropy is predicted

Written by `report.py` from `results.json`, which `run.py` makes; every prediction is in it. What is compared is the change of
the mean entropy of one optimizer step's own tokens, evaluated before and after the step (no dropout, so the measurement
has no noise but rounding), with

* **predicted**: the gradient of that mean before the step times the displacement that AdamW made, nothing fitted;
* **along the step**: the same gradient averaged along the displacement, at two Gauss nodes, nothing fitted;
* **logit level**: the flow, -mean(r A w D), times one factor fitted to the row's own predictions.

R² = 1 - sum (measured - predicted)² / sum (measured - mean)². Since nothing is sampled anew it speaks of linearity alone, not
of how well the change on other tokens is known. AdamW with weight decay 0.01 and gradients clipped to norm 0.2. Tiny policy:
countdown, 192 completions a step, every third of 40 steps, plain GRPO and flow control at 0.26 nats. SmolLM2-135M: one-digit
sums, 16 completions a step, every second of 15 steps, plain GRPO. Sizes and errors are medians, in nats per token.

Runs finished: {finished}.

{table}

A row of several learning rates has one factor for all of them. R² is a share of the spread of the changes: where all of them are
alike, as under plain GRPO, a small relative error leaves little of it. The first prediction of each run is of Adam's first
step, which moves every parameter by the learning rate along the sign of its gradient; it is the largest and widens the spread.
Without it:

{later}

![predicted and measured](scatter.png)

## What the account says

Mean size of each part, in percent of the sum of all sizes, without the first step; `rest` is the largest of any prediction.

{account}

## Time

{time}

Median seconds, on a shared machine, one thread for the tiny policy. A prediction here is the gradient before the step, two more
along it, the tokens evaluated again, and two or four forward passes for the account.

Machine: {machine}
"""


def agreement(groups: dict[str, Any]) -> str:
    header = ["policy, learning rate, method", "runs", "predictions", "size of the change", "error"]
    header += ["R² predicted", "R² along the step", "R² logit level", "its factor"]
    return table(
        header,
        [
            [
                name,
                str(row["runs"]),
                str(row["predictions"]),
                f"{row['median_size_of_change']:.2g}",
                f"{row['median_error']:.2g}",
                f"{row['r2_predicted']:.4f}",
                f"{row['r2_integrated']:.4f}",
                f"{row['r2_logit_level_fitted']:.3f}",
                f"{row['logit_level_factor']:.3g}",
            ]
            for name, row in groups.items()
        ],
    )


def account(groups: dict[str, Any]) -> str:
    whole = {name: row for name, row in groups.items() if name.count(",") == 1 and "all" not in name}
    parts = list(next(iter(whole.values()))["mean_share_of_gross"])
    parts = [part for part in parts if part not in ("neutral", "bonus", "rest")]
    rows = [
        [name]
        + [f"{100 * row['mean_share_of_gross'][part]:.1f}" for part in parts]
        + [f"{100 * row['largest_rest_to_gross']:.3f}"]
        for name, row in whole.items()
    ]
    return table(["policy, learning rate", *(part.replace("_", " ") for part in parts), "rest, largest"], rows)


def seconds(groups: dict[str, Any]) -> str:
    rows = [
        [name, f"{row['median_seconds']['step_seconds']:.2f}", f"{row['median_seconds']['seconds']:.2f}"]
        for name, row in groups.items()
        if "all" in name
    ]
    return table(["policy", "step", "prediction"], rows)


def picture(record: dict[str, Any], path: Path) -> None:
    """Measured against predicted: above in parameter space, below at the logit level with a factor for each panel."""
    groups = [name for name in record["agreement"] if name.count(",") == 1 and "all" not in name]
    figure = Figure(figsize=(2.6 * len(groups), 5.6), dpi=150, layout="constrained")
    grid = figure.subplots(2, len(groups), squeeze=False)
    for column, name in enumerate(groups):
        model, rate = name.split(", ")
        factor = record["agreement"][name]["logit_level_factor"]
        for axes, key, scale, r2 in (
            (grid[0][column], "predicted", 1.0, "r2_predicted"),
            (grid[1][column], "logit_level", factor, "r2_logit_level_fitted"),
        ):
            for run in record["runs"]:
                if run["name"].startswith(f"{model}-") and f"-{rate}-" in run["name"]:
                    method = run["name"].split("-")[1]
                    x = [1e3 * scale * row[key] for row in run["predictions"]]
                    y = [1e3 * row["measured_same_batch"] for row in run["predictions"]]
                    axes.plot(x, y, ".", color=COLORS[method], markersize=4, alpha=0.7)
            low, high = axes.get_ylim()
            axes.plot([low, high], [low, high], color="black", linewidth=0.8, zorder=0)
            axes.set_title(f"R² {record['agreement'][name][r2]:.3f}", fontsize=9, loc="left")
            axes.grid(alpha=0.25, linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=7)
        grid[0][column].set_title(f"{model}, lr {rate}", fontsize=9, loc="right")
        grid[0][column].set_xlabel("gradient x displacement", fontsize=8)
        grid[1][column].set_xlabel("flow x fitted factor", fontsize=8)
    for row in grid:
        row[0].set_ylabel("measured change\n[1e-3 nats per token]", fontsize=8)
    figure.savefig(path)


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    groups = record["agreement"]
    environment = next(iter(record["environment"].values()))
    finished = ", ".join(f"{model} {done} of {planned}" for model, (done, planned) in record["finished"].items())
    return PAGE.format(
        finished=finished,
        table=agreement(groups),
        later=agreement(record["agreement_after_the_first_step"]),
        account=account(record["agreement_after_the_first_step"]),
        time=seconds(groups),
        machine=machine(environment),
    )


def main() -> None:
    record = json.loads((HERE / "results.json").read_text())
    (HERE / "README.md").write_text(page(record))
    picture(record, HERE / "scatter.png")


if __name__ == "__main__":
    main()
