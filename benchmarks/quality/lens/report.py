"""`results.json` as a page: `python benchmarks/quality/lens/report.py` writes README.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean, median
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from common.markdown import cell, machine, table
from common.seeds import over_seeds

from entrostat.methods import card

HERE = Path(__file__).parent
CLEAR = 0.02  # of the plain change: a smaller effect has no sign worth the name

INTRODUCTION = """# Foreseen and measured: what each method does to the entropy

Written by `report.py` from `results.json`, which `run.py` makes. Exact tabular policies, {seeds} seeds, {steps} optimizer steps,
two on each batch; every method beside plain training from the same start. Values are mean ± standard deviation over seeds, as
shares of how far plain training moved the entropy.

* foreseen: the sum over the plain run of what the lens predicts the method to change. Terms made of another statistic than
  entropy and ratio are not foreseen.
* measured: entropy at the end, less that of plain training.
* same sign: seeds in which both have one sign, of those in which both are larger than {clear:.0%}.
* reward: at the end, less that of plain training.

{verdict}

Machine: {machine}
"""


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    names = list(record["seeds"][0]["methods"])
    rows, agree, seen = [], 0, 0
    for name in names:
        each = [seed["methods"][name] for seed in record["seeds"]]
        clear = [one for one in each if min(abs(one["foreseen"]), abs(one["measured"])) > CLEAR]
        same = sum(one["foreseen"] * one["measured"] > 0 for one in clear)
        if card(name).effect != "holds":
            agree, seen = agree + same, seen + len(clear)
        numbers = [cell(over_seeds([one[key] for one in each])) for key in ("foreseen", "measured", "reward")]
        rows.append(
            [f"`{name}`", card(name).effect, *numbers[:2], f"{same} of {len(clear)}" if clear else "", numbers[2]]
        )
    header = ["method", "says", "foreseen", "measured", "same sign", "reward"]
    held = {
        name: median(abs(seed["methods"][name]["end"] - 1) for seed in record["seeds"])
        for name in names
        if card(name).effect == "holds"
    }
    near = ", ".join(f"`{name}` {share:.0%}" for name, share in sorted(held.items(), key=lambda pair: pair[1]))
    plain = fmean(seed["plain_end"] / seed["start"] for seed in record["seeds"])
    verdict = (
        f"Where both are clear, the signs agree in {agree} of {seen} runs of methods without a target. Plain training ends at "
        f"{plain:.0%} of the initial entropy. Those with a target were asked for the initial entropy; median distance from it at "
        f"the end: {near}."
    )
    head = INTRODUCTION.format(
        seeds=len(record["seeds"]),
        steps=record["steps"],
        clear=CLEAR,
        verdict=verdict,
        machine=machine(record["environment"]),
    )
    return head + "\n" + table(header, rows) + "\n"


def main() -> None:
    record = json.loads((HERE / "results.json").read_text())
    (HERE / "README.md").write_text(page(record))


if __name__ == "__main__":
    main()
