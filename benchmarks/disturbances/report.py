"""`results.json` as a page and pictures: `python benchmarks/disturbances/report.py` writes README.md and disturbances-*.png.

And the tables of docs/self_tuning.md.
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
TASKS = {"tiny": "operands from 5 to 9 in place of 1 to 9", "smollm2": "numbers of two digits in place of one"}
KINDS = {
    "learning_rate": "learning rate doubled",
    "task": "task switched",
    "updates": "four updates on each batch in place of one",
    "temperature": "sampling temperature from 1.0 to 1.2",
}
MODELS = {
    "tiny": "The tiny policy on countdown, 384 prompts x 2 completions a step.",
    "smollm2": "SmolLM2-135M-Instruct on sums, 16 prompts x 4 completions a step.",
}

PAGE = """# Disturbances in mid-run

Written by `report.py` from `results.json`, which `run.py` makes; every run's series is in it. 75 % of the initial entropy is
held with a settling time of {settling} steps asked for, the two settings of
[the study without disturbances](../self_tuning/README.md); nothing is changed for these runs, and the
controller is told of nothing. At step {step} something changes. Values are mean ± standard deviation over seeds, errors
in percent of the target.

* recovery: steps from the change until the error, smoothed over {window} steps, stays within {good} of the target, or within
  5 % of the run's first error or three standard deviations of a batch's noise that is left in it (before the change) where
  that is more. "never" counts the seeds in which it does not before the end.
* worst error: of the smoothed error, and of a single batch, after the change.
* rms before, rms after: of each batch's measured entropy over the half before the change, and over the last quarter of the run.

{models}

Machine: {machine}
"""


def what(kind: str, model: str) -> str:
    """The change in words."""
    return f"{KINDS[kind]}: {TASKS[model]}" if kind == "task" else KINDS[kind]


def rows_of(model: str, disturbances: dict[str, Any]) -> list[list[str]]:
    rows = []
    for kind, group in disturbances.items():
        never = sum(value is None for value in group["recovery"]["each"])
        rows.append(
            [
                what(kind, model),
                str(len(group["seeds"])),
                cell(group["recovery"], digits=0) + (f" (never: {never})" if never else ""),
                cell(group["worst_smoothed"], percent=True),
                cell(group["worst"], percent=True),
                cell(group["rms_before"], percent=True),
                cell(group["rms_after"], percent=True),
            ]
        )
    return rows


def figure(record: dict[str, Any], step: int, path: Path) -> None:
    """Entropy over steps as a share of the target, a panel for each disturbance of a model."""
    kinds = list(record["disturbances"])
    canvas = Figure(figsize=(9, 5), dpi=150, layout="constrained")
    panels = canvas.subplots(2, 2, sharex=True, sharey=True).flat
    for kind, axes in zip(kinds, panels, strict=False):
        runs = [run for run in record["runs"] if run["kind"] == kind]
        series = [[100 * value / run["target"] for value in run["measured"]] for run in runs]
        for each in series:
            axes.plot(each, color="#0072B2", linewidth=0.6, alpha=0.4)
        axes.plot([fmean(values) for values in zip(*series, strict=True)], color="#0072B2", linewidth=1.6)
        axes.axhline(100, color="black", linewidth=0.9, linestyle=(0, (2, 2)))
        axes.axvline(step, color="#D55E00", linewidth=0.9)
        axes.set_title(KINDS[kind], fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    canvas.supxlabel("optimizer step", fontsize=9)
    canvas.supylabel("policy entropy [% of the target]", fontsize=9)
    canvas.savefig(path)


def recoveries(model: str, record: dict[str, Any]) -> str:
    """The table of one model."""
    header = [
        "what changes",
        "seeds",
        "recovery [steps]",
        "worst error, smoothed",
        "of a batch",
        "rms before",
        "rms after",
    ]
    return table(header, rows_of(model, record["disturbances"]))


def shown(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The models of which there are runs."""
    return {model: found for model, found in record["models"].items() if found["runs"]}


def excerpts(record: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What the project's pages show of it: page -> place -> table."""
    tables = {f"disturbances of {model}": recoveries(model, found) for model, found in shown(record).items()}
    return {"docs/self_tuning.md": tables}


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    models = [
        f"## {model}\n\n{MODELS[model]} Self-tuned `{found['method']}`.\n\n{recoveries(model, found)}\n\n"
        f"![entropy over steps, each seed and their mean](disturbances-{model}.png)"
        for model, found in shown(record).items()
    ]
    return PAGE.format(
        settling=record["settling_asked"],
        step=record["step"],
        window=record["window"],
        good=f"{100 * record['good']:.0f} %",
        models="\n\n".join(models),
        machine=machine(*record["environments"]),
    )


def main() -> None:
    record = json.loads((HERE / "results.json").read_text())
    (HERE / "README.md").write_text(page(record))
    fill_pages(excerpts(record))
    for model, found in shown(record).items():
        figure(found, record["step"], HERE / f"disturbances-{model}.png")


if __name__ == "__main__":
    main()
