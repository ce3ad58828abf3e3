"""`results.json` as a page and pictures: `python benchmarks/quality/holding/report.py` writes README.md and hold-*.png.

The columns that matter most go into docs/self_tuning_measured.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).parents[2]))

from common.markdown import cell, machine, table, write_between

from entrostat.report.figure import HELD_COLOR, PLAIN_COLOR

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "self_tuning_measured.md"
ON_THE_PAGE = ("method", "target", "seeds", "error", "smoothed", "noise", "settled [steps]")
REACHED = 2.0  # a target above this share of the initial entropy is there to be called out of reach
COLORS = {
    "flow self-tuned": "#6A3D9A",
    "hold self-tuned": HELD_COLOR,
    "hold, 256 completions": "#56B4E9",
    "plain GRPO": PLAIN_COLOR,
    "EntroPIC released": "#009E73",
    "EntroPIC self-tuned": "#CC79A7",
    "Skywork AEC": "#E69F00",
}

INTRODUCTION = """# Self-tuning control

Written by `report.py` from `results.json`, which `run.py` makes; every run's series is in it. Values are mean ± standard
deviation over seeds. The user's settings are the same in every self-tuned run: a target, as a share of the initial entropy, and
a settling time of {settling} optimizer steps.

* error: root mean square of the measured entropy of each step's batch against the target, as a share of it, over the second
  half of the run; the batch's own sampling noise is in it. Smoothed: of the error's means over {window} steps, which hold
  little of that noise. Noise: of one batch, as a share of the target, from the second differences of the measured entropies.
* reached: the first step whose error, smoothed over {window} steps, lies within 5 % of the first error, or within 3 % of the
  target or three standard deviations of the noise that is left in it, where that is more. Settled: the first from which
  it stays there to the end; "never" counts the seeds in which it does not.
* overshoot: how far the smoothed error goes to the other side of the target, as a share of the target, and of the way from
  the first entropy to it; where the target is the start itself there is no such thing.
* at a limit: the share of steps whose output is.
* reward, avg@8, pass@8: at the training temperature, where a held policy loses score to the noise that was kept. Greedy decoding
  and longer runs tell another story: [quality/long](../long/README.md).

Machine: {machine}
"""


Group = dict[str, Any]


def _number(key: str, percent: bool = False, digits: int = 3) -> Callable[[Group], str]:
    return lambda group: cell(group.get(key), percent, digits)


def _settled(group: Group) -> str:
    """The settling times of those seeds that settle, and how many do not."""
    never = sum(step is None for step in group.get("settling", {}).get("each", []))
    return " ".join(filter(None, [cell(group.get("settling"), digits=0), f"(never: {never})" if never else ""]))


def _called_out_of_reach(group: Group) -> str:
    told = [step for step in group.get("first_unreachable", {}).get("each", []) if step is not None]
    return f"{len(told)} of {len(group['seeds'])}, from step {min(told)}" if told else ""


COLUMNS: dict[str, Callable[[Group], str]] = {
    "method": lambda group: group["method"],
    "target": lambda group: "" if group["share"] is None else f"{100 * group['share']:.0f} %",
    "seeds": lambda group: str(len(group["seeds"])),
    "entropy at the end [nats]": _number("entropy_end"),
    "error": _number("rms", percent=True),
    "smoothed": _number("rms_smoothed", percent=True),
    "noise": _number("noise", percent=True),
    "reached [steps]": _number("reached", digits=0),
    "settled [steps]": _settled,
    "overshoot": _number("overshoot_of_target", percent=True),
    "of the way": _number("overshoot", percent=True),
    "at a limit": _number("saturated", percent=True),
    "called out of reach": _called_out_of_reach,
    "reward": _number("reward_end"),
    "avg@8": _number("avg@8"),
    "pass@8": _number("pass@8"),
}


def numbers(groups: list[Group], columns: Iterable[str]) -> str:
    """The table of all that has a target within reach, or none."""
    rows = [[COLUMNS[name](group) for name in columns] for group in groups if _within_reach(group)]
    return table(list(columns), rows)


def _by_model(record: dict[str, Any]) -> dict[str, list[Group]]:
    """The groups of each model, method by method."""
    order = list(COLORS)
    groups = sorted(record["groups"], key=lambda group: (order.index(group["method"]), group["share"] or 0))
    return {
        model: [group for group in groups if group["model"] == model]
        for model in dict.fromkeys(group["model"] for group in record["groups"])
    }


def _within_reach(of: Group) -> bool:
    """Whether a run or a group has a target that it is to reach, or none."""
    return of["share"] is None or of["share"] < REACHED


def out_of_reach(group: Group) -> str:
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
        axes.plot(mean, color=COLORS[method], linewidth=1.5, label=None if method in seen else method)
        seen.add(method)
    for share in sorted({run["share"] for run in runs if run["share"] is not None}):
        axes.axhline(100 * share, color="black", linewidth=0.9, linestyle=(0, (2, 2)))
    axes.set(xlabel="optimizer step", ylabel="policy entropy [% of the initial]", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="lower left")
    canvas.savefig(path)


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    parts = [
        INTRODUCTION.format(
            settling=record["settling_asked"],
            window=record["window"],
            machine=machine(*record["environments"]),
        )
    ]
    for model, groups in _by_model(record).items():
        parts += [f"## {model}\n", f"![entropy over steps, mean of the seeds](hold-{model}.png)\n"]
        parts += [numbers(groups, COLUMNS), ""]
        parts += [out_of_reach(group) for group in groups if not _within_reach(group)]
    return "\n".join(parts)


def main() -> None:
    record = json.loads((HERE / "results.json").read_text())
    (HERE / "README.md").write_text(page(record))
    for model, groups in _by_model(record).items():
        held = [group for group in groups if group["method"].startswith("hold")]
        write_between(PAGE, f"holding on {model}", numbers(held, ON_THE_PAGE))
    for model in {run["model"] for run in record["runs"]}:
        figure(
            [run for run in record["runs"] if run["model"] == model and _within_reach(run)], HERE / f"hold-{model}.png"
        )


if __name__ == "__main__":
    main()
