"""`results.json` as pages and pictures: `python benchmarks/self_tuning/report.py` writes README.md and hold-*.png.

And the tables of the project's README and of docs/self_tuning.md.
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
REACHED = 2.0  # a target above this share of the initial entropy is there to be called out of reach
COLOURS = {
    "flow self-tuned": "#0072B2",
    "hold self-tuned": "#6A3D9A",
    "hold, 256 completions": "#56B4E9",
    "plain GRPO": "#D55E00",
    "EntroPIC released": "#009E73",
    "EntroPIC self-tuned": "#CC79A7",
    "Skywork AEC": "#E69F00",
}

EXCERPTS = {  # page -> whose runs
    "README.md": ("hold self-tuned", "plain GRPO", "EntroPIC released", "Skywork AEC"),
    "docs/self_tuning.md": tuple(COLOURS),
}

INTRODUCTION = """# Self-tuning control

Written by `report.py` from `results.json`, which `run.py` makes; every run's series is in it. Values are mean ± standard
deviation over seeds. The user's settings are the same in every self-tuned run: a target, as a share of the initial entropy, and
a settling time of {settling} optimizer steps.

* rms / target: of the measured entropy of each step's batch against the target, over the second half of the run; the batch's
  own sampling noise is in it. Smoothed: of the error's means over {window} steps, which hold little of that noise. Noise: of one
  batch, as a share of the target, estimated from the second differences of the measured entropies.
* reached: the first step whose error, smoothed over {window} steps, lies within 5 % of the first error, or within 3 % of the
  target or three standard deviations of the noise that is left in it, where that is more. Settling: the first from which
  it stays there to the end; "never" counts the seeds in which it does not.
* overshoot: how far the smoothed error goes to the other side of the target, as a share of the first error; where the target
  is the start itself there is no such thing.

Machine: {machine}
"""


def _settled(group: dict[str, Any]) -> str:
    """The settling times of those seeds that settle, and how many do not."""
    never = sum(step is None for step in group.get("settling", {}).get("each", []))
    return " ".join(filter(None, [cell(group.get("settling"), digits=0), f"(never: {never})" if never else ""]))


def rows_of(groups: list[dict[str, Any]]) -> list[list[str]]:
    rows = []
    for group in groups:
        told = [step for step in group.get("first_unreachable", {}).get("each", []) if step is not None]
        rows.append(
            [
                group["method"],
                "" if group["share"] is None else f"{100 * group['share']:.0f} %",
                str(len(group["seeds"])),
                cell(group["entropy_end"]),
                cell(group.get("rms"), percent=True),
                cell(group.get("rms_smoothed"), percent=True),
                cell(group.get("noise"), percent=True),
                cell(group.get("reached"), digits=0),
                _settled(group),
                cell(group.get("overshoot"), percent=True),
                cell(group.get("saturated"), percent=True),
                f"{len(told)} of {len(group['seeds'])}, from step {min(told)}" if told else "",
                cell(group["reward_end"]),
                cell(group.get("avg@8")),
                cell(group.get("pass@8")),
            ]
        )
    return rows


def excerpts(record: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What the project's pages show of it: page -> place -> table."""
    models = dict.fromkeys(group["model"] for group in record["groups"])
    return {
        page: {f"self-tuning on {model}": brief(_ordered(record, model), methods) for model in models}
        for page, methods in EXCERPTS.items()
    }


def brief(groups: list[dict[str, Any]], methods: tuple[str, ...]) -> str:
    """Fewer columns than `rows_of`, for whoever reads of it for the first time."""
    header = ["method", "target", "seeds", "entropy at the end [nats]", "error", "smoothed", "noise of a batch"]
    header += ["settled [steps]", "overshoot", "reward", "avg@8", "pass@8"]
    rows = [
        [
            group["method"].removesuffix(" self-tuned")
            if group["method"] != "EntroPIC self-tuned"
            else group["method"],
            "" if group["share"] is None else f"{100 * group['share']:.0f} %",
            str(len(group["seeds"])),
            cell(group["entropy_end"]),
            cell(group.get("rms"), percent=True),
            cell(group.get("rms_smoothed"), percent=True),
            cell(group.get("noise"), percent=True),
            "starts there" if group["share"] == 1 else _settled(group),
            cell(group.get("overshoot_of_target"), percent=True),
            cell(group["reward_end"]),
            cell(group.get("avg@8")),
            cell(group.get("pass@8")),
        ]
        for group in groups
        if group["method"] in methods and _within_reach(group)
    ]
    return table(header, rows)


def _ordered(record: dict[str, Any], model: str) -> list[dict[str, Any]]:
    """The groups of one model, method by method."""
    groups = [group for group in record["groups"] if group["model"] == model]
    return sorted(groups, key=lambda group: (list(COLOURS).index(group["method"]), group["share"] or 0))


def _within_reach(of: dict[str, Any]) -> bool:
    """Whether a run or a group has a target that it is to reach, or none."""
    return of["share"] is None or of["share"] < REACHED


def out_of_reach(group: dict[str, Any]) -> str:
    """What a run says of a target that it cannot reach."""
    steps = group["first_unreachable"]["each"]
    said = [step for step in steps if step is not None]
    first = f"from step {min(said)} to {max(said)} on" if said else "never"
    return (
        f"At {100 * group['share']:.0f} % of the initial entropy ({cell(group['target'])} nats) {len(said)} of {len(steps)} runs "
        f"say that their target is out of reach, {first}, and name as the range of one settling time "
        f"{cell(group['reach_low'])} to {cell(group['reach_high'])} nats.\n"
    )


def figure(runs: list[dict[str, Any]], path: Path) -> None:
    """Entropy over steps, mean of the seeds, as a share of the initial entropy."""
    canvas = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = canvas.subplots()
    groups: dict[tuple[str, Any], list[list[float]]] = {}
    for run in runs:
        # A target that is relative to the start is so to the first measurement.
        first = run["entropy"][0]
        groups.setdefault((run["method"], run["share"]), []).append([value / first for value in run["entropy"]])
    seen: set[str] = set()
    for (method, _), series in groups.items():
        mean = [100 * fmean(values) for values in zip(*series, strict=False)]
        axes.plot(mean, color=COLOURS[method], linewidth=1.5, label=None if method in seen else method)
        seen.add(method)
    for share in sorted({run["share"] for run in runs if run["share"] is not None}):
        axes.axhline(100 * share, color="black", linewidth=0.9, linestyle=(0, (2, 2)))
    axes.set(xlabel="optimizer step", ylabel="policy entropy [% of the initial]", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="lower left")
    canvas.savefig(path)


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    header = [
        "method",
        "target",
        "seeds",
        "entropy at the end",
        "rms / target",
        "smoothed",
        "noise",
        "reached",
        "settling",
        "overshoot",
        "saturated",
    ]
    header += ["called out of reach", "reward", "avg@8", "pass@8"]
    parts = [
        INTRODUCTION.format(
            settling=record["settling_asked"],
            window=record["window"],
            machine=machine(record["environment"]),
        )
    ]
    for model in dict.fromkeys(group["model"] for group in record["groups"]):
        groups = _ordered(record, model)
        parts += [f"## {model}\n", f"![entropy over steps, mean of the seeds](hold-{model}.png)\n"]
        parts += [table(header, rows_of([group for group in groups if _within_reach(group)])), ""]
        parts += [out_of_reach(group) for group in groups if not _within_reach(group)]
    return "\n".join(parts)


def main() -> None:
    record = json.loads((HERE / "results.json").read_text())
    (HERE / "README.md").write_text(page(record))
    fill_pages(excerpts(record))
    for model in {run["model"] for run in record["runs"]}:
        figure(
            [run for run in record["runs"] if run["model"] == model and _within_reach(run)], HERE / f"hold-{model}.png"
        )


if __name__ == "__main__":
    main()
