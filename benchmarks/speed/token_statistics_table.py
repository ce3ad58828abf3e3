"""The tables of docs/statistics.md, from the results: `python benchmarks/statistics/table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIDES = {
    ("forward", "ours"): "all statistics, no gradient: ours",
    ("forward", "product"): "the matrix product alone, over the same tiles",
    ("forward", "log_softmax"): "full logits and log_softmax alone, no statistics",
    ("forward", "full"): "log_softmax on full logits, and the statistics from it",
    ("step", "ours"): "forward and backward: ours",
    ("step", "recomputed"): "ours, with no logits kept for the backward",
    ("step", "products"): "the three matrix products alone, over the same tiles",
    ("step", "full"): "full logits",
    ("step", "trl"): "TRL's fused head",
}


def tables(results: dict[str, Any]) -> list[str]:
    """Sides beside ours; the bounds; growth with the vocabulary."""
    rows = {(r["case"], r["side"], r["threads"]): r for r in results["rows"] if r["case"] in ("forward", "step")}
    return [sides(rows), bounds(rows), growth(results["rows"])]


def sides(rows: dict[tuple[str, str, int], dict[str, Any]]) -> str:
    lines = ["| | 1 thread [s] | 2 threads [s] | memory [MB] |", "| --- | --- | --- | --- |"]
    for (case, side), text in SIDES.items():
        one, two = (rows[case, side, threads] for threads in (1, 2))
        lines.append(f"| {text} | {one['seconds']:.3f} | {two['seconds']:.3f} | {two['extra_mb']:,.0f} |")
    return "\n".join(lines) + "\n"


def bounds(rows: dict[tuple[str, str, int], dict[str, Any]]) -> str:
    def over(case: str, side: str, below: str, threads: int) -> float:
        return float(rows[case, side, threads]["seconds"] / rows[case, below, threads]["seconds"])

    def memory(threads: int, without: bool) -> float:
        ours, full = (rows["step", side, threads] for side in ("ours", "full"))
        less = ours["gradient_mb"] if without else 0
        return float((ours["extra_mb"] - less) / (full["extra_mb"] - less))

    lines = [
        ("no gradient: full logits' time over ours", "at least 2.5", lambda n: over("forward", "full", "ours", n)),
        ("no gradient: our time over the product's", "at most 1.15", lambda n: over("forward", "ours", "product", n)),
        ("step: full logits' time over ours", "at least 1.5", lambda n: over("step", "full", "ours", n)),
        ("step: our time over that of TRL's fused head", "at most 1", lambda n: over("step", "ours", "trl", n)),
        ("step: our memory over that of full logits", "at most 0.1", lambda n: memory(n, without=False)),
        ("the same without the gradients that both return", "", lambda n: memory(n, without=True)),
    ]
    header = ["| | set as a bound | 1 thread | 2 threads |", "| --- | --- | --- | --- |"]
    body = [f"| {text} | {bound} | {value(1):.2f} | {value(2):.2f} |" for text, bound, value in lines]
    return "\n".join(header + body).replace("|  |", "| |") + "\n"


def growth(rows: list[dict[str, Any]]) -> str:
    chosen = [r for r in rows if r["case"] == "vocabulary" and r["threads"] == 1]
    lines = ["V, at 512 tokens", "time [s]", "memory [MB]"]
    lines[0] += "".join(f" | {r['vocabulary']:,}" for r in chosen)
    lines[1] += "".join(f" | {r['seconds']:.3f}" for r in chosen)
    lines[2] += "".join(f" | {r['extra_mb']:.1f}" for r in chosen)
    rule = " | ".join(["---"] * (len(chosen) + 1))
    return "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:])) + "\n"


if __name__ == "__main__":
    print("\n".join(tables(json.loads(Path(__file__).with_name("token_statistics.json").read_text()))))
