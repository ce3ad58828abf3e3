"""`results.json` as a page and a picture: `python benchmarks/control/report.py` writes README.md and hold.png beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).parents[1]))

from common.markdown import cell, machine, table

HERE = Path(__file__).parent
COLOURS = {"flow": "#0072B2", "plain": "#D55E00", "released": "#009E73", "D > 0": "#CC79A7"}

INTRODUCTION = """# Entropy control on the tiny policy

Written by `report.py` from `results.json`, which `run.py` makes; every run's overrides and series are in it. Values are
mean ± standard deviation over the seeds {seeds}. GRPO on countdown, AdamW, constant learning rate 1e-4, 48 prompts x 8
completions a step, 120 steps; the policy starts at {start} nats. Errors are of the measured entropy of each step's batch
against the target, over the second half of the run, so they include the batch's own sampling noise. Evaluation: 100 held-out
problems x 8 samples at temperature 1. In study 2, 512 completions serve four updates of 128, learning rate 2e-4, 160 steps.

The sawtooth of 36 steps is the task's, in every run: it poses each of its 1,715 training problems once before any comes again,
and the common kinds come first, so the batches change their kind along each pass. It is a disturbance that control has to
reject, and the larger part of the errors below.

Machine: {machine}
"""


def hold_table(rows: list[dict[str, Any]]) -> str:
    header = [
        "method",
        "target",
        "seeds",
        "entropy at the end",
        "mean error",
        "rms error",
        "rms / target",
        "saturated",
        "reward",
        "avg@8",
        "pass@8",
    ]
    body = [
        [
            row["method"],
            "" if row["target"] is None else f"{row['target']:.2f}",
            str(len(row["seeds"])),
            cell(row["entropy_end"]),
            cell(row.get("mean_error"), digits=4),
            cell(row.get("rms_error"), digits=4),
            cell(row.get("relative_rms_error"), percent=True),
            cell(row.get("saturated_share"), percent=True),
            cell(row["reward_end"]),
            cell(row.get("avg@8_end")),
            cell(row.get("pass@8_end")),
        ]
        for row in rows
    ]  # fmt: skip
    return table(header, body)


def figure(record: dict[str, Any], path: Path) -> None:
    """Entropy over steps, mean of the seeds, each method at its targets."""
    canvas = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = canvas.subplots()
    groups: dict[tuple[str, str], list[list[float]]] = {}
    for run in record["runs"]:
        study, name = run["name"].split("/")
        if study == "hold":
            groups.setdefault((name.rsplit("-seed", 1)[0], study), []).append(run["entropy"])
    seen: set[str] = set()
    targets = sorted({row["target"] for row in record["studies"]["hold"] if row["target"] is not None})
    for (name, _), series in groups.items():
        kind = next((k for k in COLOURS if k.replace(" ", "-") in name), "plain")
        label = {"plain": "plain GRPO", "flow": "flow", "released": "EntroPIC as released"}.get(
            kind, f"EntroPIC, {kind}, strong gains"
        )
        mean = [fmean(values) for values in zip(*series, strict=False)]
        axes.plot(mean, color=COLOURS[kind], linewidth=1.5, alpha=0.9, label=None if kind in seen else label)
        seen.add(kind)
    for target in targets:
        axes.axhline(target, color="black", linewidth=0.9, linestyle=(0, (2, 2)))
    axes.set(xlabel="optimizer step", ylabel="policy entropy [nats per token]", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="lower left")
    canvas.savefig(path)


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    studies = record["studies"]
    hold = studies["hold"]
    seeds = sorted({seed for row in hold for seed in row["seeds"]})
    parts = [
        INTRODUCTION.format(
            seeds=", ".join(map(str, seeds)),
            start=cell(hold[0]["entropy_start"]),
            machine=machine(record["environment"]),
        ),
        "## 1. Holding a target\n",
        "![mean entropy over seeds](hold.png)\n",
        hold_table(hold),
        "\n## 2. Off-policy: four updates per batch\n",
        hold_table(studies["off_policy"]),
        "\n## 3. The interventions of 2602.03392\n",
        "Training on one kind of token alone for 30 steps; the change of entropy, last five steps against the first two.\n",
        table(
            ["kept", "predicted", "change [nats]", "as predicted in every seed"],
            [
                [
                    row["kept"],
                    row["predicted"],
                    cell(row["change"], digits=4),
                    "yes" if row["as_predicted"] else "**no**",
                ]
                for row in studies["interventions"]
            ],
        ),
        "\nThe batch mean of D beside that of S, over the steps of the plain runs:\n",
        table(
            ["seed", "mean S", "mean D", "rms of the batch mean of D", "S / rms D", "S / mean D"],
            [
                [
                    seed,
                    *(
                        str(row[k])
                        for k in ("mean_S", "mean_D", "rms_of_batch_mean_D", "S_over_rms_D", "S_over_mean_D")
                    ),
                ]
                for seed, row in studies["mean_of_D_beside_S"].items()
            ],
        ),
        "",
    ]
    return "\n".join(parts)


def main() -> None:
    record = json.loads((HERE / "results.json").read_text())
    (HERE / "README.md").write_text(page(record))
    figure(record, HERE / "hold.png")


if __name__ == "__main__":
    main()
