"""`results.json` as a page: `python benchmarks/quality/equal_entropy/report.py` writes README.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from common.markdown import cell, machine, table
from common.seeds import over_seeds
from driven import DRIVEN, PLAIN, STALE

HERE = Path(__file__).parent
SHARE, NEAR = (
    0.5,
    0.05,
)  # the target, of the entropy at the start; how far from it the entropy may be and still be there
SCORES = {"greedy": "greedy", "1": "avg", "16": "pass@16", "64": "pass@64"}

PAGE = """# Methods at one entropy

Written by `report.py` from `results.json`, which `run.py` makes. Each method whose strength is a knob has that knob driven
by the self-tuning controller to half of the initial entropy. So every method is compared at the same entropy, and what
differs is how it is held there. [Players](../long/README.md) of 29,000 parameters learn countdown with three numbers by
AdamW for {steps} steps, {problems}, and are judged on problems that they have not seen; scores are exact. Mean ± standard
deviation over seeds, where there are several.

* entropy: of what is sampled, over the last quarter of a run, as a share of the entropy at the start; the target is 0.5.
* at a limit: share of that quarter in which the knob lay at a limit.
* reward: of the sampled games in that quarter. greedy, avg, pass@k: of held-out problems at the end, at temperature 1.

Within {near:.0%} of the start's entropy from the target counts as there. The others cannot be brought there by their knob
within the limits that are named, and are not compared at one entropy: what they show is how far the knob reaches.

{machine}
"""


def scores(row: dict[str, Any]) -> dict[str, float]:
    found = row["held_out"]
    return {label: found[key] if key in found else found["pass"][key] for key, label in SCORES.items()}


def near(rows: list[dict[str, Any]]) -> bool:
    """Whether the target was reached, in the mean over seeds."""
    return abs(fmean(row["entropy"] / row["start"] for row in rows) - SHARE) <= NEAR


def line(name: str, driven: str, rows: list[dict[str, Any]]) -> list[str]:
    shares = cell(over_seeds([row["entropy"] / row["start"] for row in rows]), digits=2)
    limit = f"{fmean(abs(row['saturated']) for row in rows):.0%}" if "saturated" in rows[0] else ""
    rewards = cell(over_seeds([row["reward"] for row in rows]))
    each = [cell(over_seeds([scores(row)[label] for row in rows])) for label in SCORES.values()]
    return [f"`{name}`", driven, str(len(rows)), shares, limit, rewards, *each]


def of_setting(runs: list[dict[str, Any]], table_of: dict[str, tuple[str, Any]]) -> str:
    """Those that came to the target, the best greedy score first; plain training; those that did not."""
    rows = {name: own for name in (PLAIN, *table_of) if (own := [row for row in runs if row["method"] == name])}
    driven = {name: what for name, (what, _) in table_of.items()} | {PLAIN: "nothing"}

    def greedy(name: str) -> float:
        return -fmean(scores(row)["greedy"] for row in rows[name])

    header = ["method", "driven", "seeds", "entropy", "at a limit", "reward", *SCORES.values()]
    methods = [name for name in rows if name != PLAIN]
    parts = []
    for title, some in (
        ("At the target", sorted((n for n in methods if near(rows[n])), key=greedy)),
        (
            "Not brought there, and plain training",
            sorted((n for n in rows if n not in methods or not near(rows[n])), key=greedy),
        ),
    ):
        if some:
            parts += [f"{title}:", table(header, [line(name, driven[name], rows[name]) for name in some])]
    return "\n\n".join(parts)


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    runs = record["runs"]
    head = PAGE.format(
        steps=runs[0]["steps"],
        problems="16 problems of 16 games a step",
        near=NEAR,
        machine="Machine: " + machine(record["environment"]),
    )
    parts = [head.strip()]
    for setting, title, table_of in (
        ("three numbers", "One update on each batch", DRIVEN),
        ("three numbers, four updates a batch", "Four updates on each batch", STALE),
    ):
        some = [row for row in runs if row["setting"] == setting]
        if some:
            parts += [f"## {title}", of_setting(some, table_of)]
    return "\n\n".join([*parts, verdict(runs)]) + "\n"


def verdict(runs: list[dict[str, Any]]) -> str:
    """What the first table says, in words that it decides."""
    own = {
        name: [r for r in runs if r["setting"] == "three numbers" and r["method"] == name] for name in (PLAIN, *DRIVEN)
    }
    there = [name for name in DRIVEN if own[name] and near(own[name])]
    away = [name for name in DRIVEN if own[name] and not near(own[name])]
    means = {name: {k: fmean(scores(r)[k] for r in own[name]) for k in SCORES.values()} for name in (PLAIN, *there)}
    spans = {k: (min(means[n][k] for n in there), max(means[n][k] for n in there)) for k in SCORES.values()}
    span = ", ".join(f"{k} {low:.3f} to {high:.3f} (plain {means[PLAIN][k]:.3f})" for k, (low, high) in spans.items())
    listed = ", ".join(f"`{name}`" for name in away)
    reached = f"{len(there)} of {len(there) + len(away)} knobs reach the target"
    fewest = min(len(own[name]) for name in (PLAIN, *there, *away))
    few = " One seed of each so far: differences of a point or two say nothing." if fewest == 1 else ""
    return f"## What it says\n\nOn-policy {reached}. The scores among them: {span}. Out of reach: {listed}.{few}"


def main() -> None:
    record = json.loads((HERE / "results.json").read_text())
    (HERE / "README.md").write_text(page(record))


if __name__ == "__main__":
    main()
