"""`results.json` as a page and a picture: `python benchmarks/frontier/report.py` writes README.md and frontier.png.

And the table of docs/frontier.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).parents[1]))

from common.markdown import fill_pages, machine, table

HERE = Path(__file__).parent
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#7F7F7F")
SCORES = {"avg@8": "avg@8", "pass@8": "pass@8"}

INTRODUCTION = """# The actuator frontier

Written by `report.py` from `results.json`, which `run.py` makes; every run's series are in it. How much reward does each way
of holding the entropy cost? GRPO on countdown with the tiny policy, AdamW, constant learning rate 1e-4, 64 prompts x 4
completions a step, 100 steps. Every actuator is turned by a self-tuning controller with a settling time of 30 steps (15 for
the temperature, which acts at once). Entropy and reward are means over the last third of the steps; avg@8 and pass@8 come
from 200 held-out problems x 8 samples after the last step, at temperature 1, and with the actuator `temperature` at the one
that it had reached. The rms error is that of each batch's measured entropy over the second half of the run, its own noise
included. Values are means over seeds [{confidence:.0%} bootstrap interval over seeds].

Machine: {machine}
"""

SMOLLM2 = """
## SmolLM2-135M

The same question where the vocabulary has 49,152 tokens, in the settings of [self-tuning's study](../self_tuning/README.md), from
which the runs of flow, of the bonus (as `hold`) and of plain GRPO are: one-digit sums, 16 problems x 4 completions a step, 75
steps, AdamW at 1e-6, a settling time of 25 steps (15 for the temperature). Targets are shares of the entropy of the first batch.
avg@8 and pass@8 come from 64 held-out problems x 8 samples. Means of {seeds} seeds (`smollm2.py`).
"""

REACH = """
## How far an actuator reaches

Exact tabular policies, no noise: 32 prompts x 16 answers of which one is right, all prompts in every step. The larger the
groups, the faster plain GRPO takes the entropy down. The last third of 150 steps, means over ten seeds (`reach.py`): the
entropy as a share of the start, the mean error as a share of the target, the share of steps whose output is at a limit.
"""

VARIANTS = """
Flow again: with weights of tokens up to 2 or 20 where the others go up to 5, and with the tokens of right or of wrong samples
weighted alone. Larger weights are also larger steps of plain gradient descent, so the second table has learning rates above the
{learning_rate} of all other rows.
"""

CLIP = """
## The clip range

Its ends as actuators, on exact policies with four updates on each batch (`clip.py`): 32 prompts x 64 answers, all in every
step, each end moved while the other stays at {usual}. Entropy and reward over the last ten of {steps} steps, and how far the
entropy is from that of the same seeds with both ends at {usual}; then the same at the step where the smoothed reward has reached
{earned}. "random" rewards are coin flips. Means over {seeds} seeds.
"""

FIRST_ORDER = """At the untrained policy: expected reward lost per nat of entropy that an actuator adds, along the direction in
which it changes AdamW's step, and how much of plain GRPO's gain is left where it undoes plain GRPO's change of the entropy. Plain
GRPO's own row is what it earns by the nat that it takes. Means of three draws of twelve batches (`cost.py`).
"""


def cell(value: dict[str, Any] | None, signed: bool = False) -> str:
    """mean [low, high], or nothing."""
    if not value:
        return ""
    form = "+.3f" if signed else ".3f"
    span = f" [{value['low']:{form}}, {value['high']:{form}}]" if "low" in value else ""
    return f"{value['mean']:{form}}{span}"


def curves_table(record: dict[str, Any], target: str = "{}") -> str:
    """Every actuator's points; `target` is how a target is written."""
    rows = [
        [
            name,
            target.format(point["target"]),
            str(point["entropy"]["seeds"]),
            *(cell(point[key]) for key in ("entropy", "reward", "avg@8", "pass@8")),
            f"{point['rms']['mean']:.1%}",
            "" if point["saturated"] is None else f"{point['saturated']:.0%}",
        ]
        for name, curve in record["curves"].items()
        for point in curve
    ]
    plain = record["plain"]["end"]
    if plain:
        rows.insert(
            0,
            [
                "plain GRPO",
                "",
                str(plain["entropy"]["seeds"]),
                *(cell(plain[key]) for key in ("entropy", "reward", "avg@8", "pass@8")),
                "",
                "",
            ],
        )
    return table(
        ["actuator", "target", "seeds", "entropy", "reward", "avg@8", "pass@8", "rms error / target", "at a limit"],
        rows,
    )


def differences_table(record: dict[str, Any]) -> str:
    """Scores minus those of flow at equal entropy."""
    rows = [
        [name, target, str(found["avg@8"]["seeds"]), *(cell(found[key], signed=True) for key in ("reward", *SCORES))]
        for name, by_target in record["at_equal_entropy"].items()
        for target, found in by_target.items()
    ]
    return table(["actuator", "target", "seeds", "reward", "avg@8", "pass@8"], rows)


def excerpts(record: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What the project's pages show of it: page -> place -> table."""
    found = {name: by_target for name, by_target in record["at_equal_entropy"].items() if "all" in by_target}
    targets = list(next(iter(found.values())))
    rows = [
        [name, *(cell(by_target[target]["reward"], signed=True) for target in targets)]
        + [cell(by_target["all"][score], signed=True) for score in SCORES]
        for name, by_target in found.items()
    ]
    header = ["actuator", *(target if target == "all" else f"{target} nats" for target in targets)]
    return {"docs/frontier.md": {"at equal entropy": table([*header, *(f"{score}, all" for score in SCORES)], rows)}}


def figure(record: dict[str, Any], path: Path) -> None:
    """avg@8 and pass@8 against the entropy that was held."""
    canvas = Figure(figsize=(10, 4.5), dpi=150, layout="constrained")
    for axes, score in zip(canvas.subplots(1, 2), SCORES, strict=True):
        for colour, (name, curve) in zip(COLOURS, record["curves"].items(), strict=False):
            points = sorted(curve, key=lambda point: float(point["entropy"]["mean"]))
            axes.errorbar(
                [p["entropy"]["mean"] for p in points],
                [p[score]["mean"] for p in points],
                xerr=_spans(points, "entropy"),
                yerr=_spans(points, score),
                color=colour,
                marker="o",
                markersize=4,
                linewidth=1.3,
                elinewidth=0.8,
                label=name,
            )
        trajectory = record["plain"]["trajectory"]
        way = [[p[key] for p in trajectory] for key in ("entropy", score)]
        axes.plot(*way, color="black", linewidth=1, linestyle=(0, (2, 2)), label="plain GRPO on its way")
        if end := record["plain"]["end"]:
            axes.plot(end["entropy"]["mean"], end[score]["mean"], "k*", markersize=10, label="plain GRPO at the end")
        for (name, points), dashes in zip(reference().items(), ((1, 1), (5, 2)), strict=False):
            way = [[point[key]["mean"] for point in points] for key in ("entropy", score)]
            axes.plot(*way, color="grey", linewidth=1, linestyle=(0, dashes), label=name)
        axes.set(xlabel="held entropy [nats per token]", ylabel=score)
        axes.spines[["top", "right"]].set_visible(False)
    canvas.axes[0].legend(frameon=False, fontsize=8)
    canvas.savefig(path)


def reference() -> dict[str, Any]:
    """The curves that temperature alone gives, where `reference.py` has been run."""
    path = HERE / "reference.json"
    return json.loads(path.read_text())["curves"] if path.exists() else {}


def reference_table() -> str:
    rows = [
        [name, f"{point['temperature']}", *(cell(point[key]) for key in ("entropy", "avg@8", "pass@8"))]
        for name, points in reference().items()
        for point in points
    ]
    return table(["policy", "temperature", "entropy", "avg@8", "pass@8"], rows)


def cost_table() -> str:
    """What `cost.py` found: means over its batches' seeds."""
    seeds = list(json.loads((HERE / "cost.json").read_text())["seeds"].values())
    rows = [
        [name, f"{-fmean(seed[name]['reward_per_nat'] for seed in seeds):.2f}"]
        + ([f"{fmean(seed[name]['kept'] for seed in seeds):.0%}"] if "kept" in seeds[0][name] else [""])
        for name in seeds[0]
    ]
    return table(["", "reward per nat", "of plain GRPO's gain kept"], rows)


def smollm2_section() -> list[str]:
    """What `smollm2.py` found; nothing where it was not run."""
    path = HERE / "smollm2.json"
    if not path.exists():
        return []
    record = json.loads(path.read_text())
    seeds = len({row["seed"] for row in record["runs"]})
    return [
        SMOLLM2.format(seeds=seeds),
        curves_table(record, "{:.0%}"),
        "\nScore minus that of flow at the entropy which the run really held, as above:\n",
        differences_table(record),
    ]


def reach_section() -> list[str]:
    """What `reach.py` found."""
    record = json.loads((HERE / "reach.json").read_text())
    header = ["group", "actuator", "target", "entropy", "error", "at a limit", "reward"]
    faster = [[f"{row['learning_rate']:g}", *reach_cells(row)] for row in record["faster"]]
    return [
        REACH,
        table(header, [reach_cells(row) for row in record["rows"]]),
        VARIANTS.format(**record),
        table(header, [reach_cells(row) for row in record["variants"]]),
        "",
        table(["learning rate", *header], faster),
    ]


def reach_cells(row: dict[str, Any]) -> list[str]:
    return [
        str(row["group"]),
        row["actuator"] or "plain GRPO",
        "" if row["share"] is None else f"{row['share']:.0%}",
        f"{row['entropy']['mean']:.0%}",
        *(f"{row[key]['mean']:.0%}" if key in row else "" for key in ("error", "at_a_limit")),
        cell(row["reward"]),
    ]


def clip_section() -> list[str]:
    """What `clip.py` found."""
    record = json.loads((HERE / "clip.json").read_text())
    rows = []
    for row in record["rows"]:
        usual, steps = row["size"] == record["usual"], row["steps_earned"]
        cells = [row["rewards"], f"{row['learning_rate']:g}", row["end"], f"{row['size']:g}"]
        cells += [f"{row['entropy']['mean']:.2f}", "" if usual else cell(row["entropy_moved"], signed=True)]
        cells += [f"{row['reward']['mean']:.3f}", f"{steps['mean']:.0f}" if steps else ""]
        rows.append([*cells, "" if usual else cell(row["entropy_earned_moved"], signed=True)])
    header = ["rewards", "learning rate", "end", "", "entropy", "against the usual", "reward"]
    header += [f"steps to {record['earned']}", "entropy there, against the usual"]
    return [CLIP.format(**record), table(header, rows)]


def _spans(points: list[dict[str, Any]], key: str) -> list[list[float]] | None:
    """Lengths of the error bars below and above; None where there are too few seeds for an interval."""
    if any("low" not in point[key] for point in points):
        return None
    means = [point[key]["mean"] for point in points]
    return [
        [mean - point[key]["low"] for mean, point in zip(means, points, strict=True)],
        [point[key]["high"] - mean for mean, point in zip(means, points, strict=True)],
    ]


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    return "\n".join(
        [
            INTRODUCTION.format(
                confidence=record["confidence"],
                machine=machine(record["environment"]),
            ),
            "![reward against held entropy](frontier.png)\n",
            curves_table(record),
            "\n## At equal entropy\n",
            "Score minus that of flow at the entropy which the run really held, read off the line through flow's runs of the "
            'same seed; "all" is the mean over the three targets.\n',
            differences_table(record),
            *smollm2_section(),
            *reach_section(),
            *clip_section(),
            "\n## What temperature alone does\n",
            "No control: the untrained policy sampled cooler, and the last policies of plain GRPO sampled hotter.\n",
            reference_table(),
            "\n## To first order\n",
            FIRST_ORDER,
            cost_table(),
            "",
        ]
    )


def main() -> None:
    record = json.loads((HERE / "results.json").read_text())
    (HERE / "README.md").write_text(page(record))
    fill_pages(excerpts(record))
    figure(record, HERE / "frontier.png")


if __name__ == "__main__":
    main()
