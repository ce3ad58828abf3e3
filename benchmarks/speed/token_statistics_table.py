"""The tables of docs/statistics.md, from the results: `python benchmarks/speed/token_statistics_table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIDES = {
    ("forward", "ours"): "no gradient: ours",
    ("forward", "product"): "no gradient: the matrix product alone",
    ("forward", "log_softmax"): "no gradient: full logits and log_softmax alone",
    ("forward", "full"): "no gradient: full logits and all statistics",
    ("step", "ours"): "step: ours",
    ("step", "recomputed"): "step: ours with `kept_mb=0`",
    ("step", "products"): "step: its three matrix products alone",
    ("step", "full"): "step: full logits",
    ("step", "trl"): "step: TRL's fused head",
}


def tables(results: dict[str, Any]) -> list[str]:
    """Sides beside ours; the bounds; growth with the vocabulary."""
    rows = {(r["case"], r["side"], r["threads"]): r for r in results["rows"] if r["case"] in ("forward", "step")}
    return [sides(rows), bounds(rows), growth(results["rows"])]


def sides(rows: dict[tuple[str, str, int], dict[str, Any]]) -> str:
    lines = ["| what is timed | 1 thread [s] | 2 threads [s] | memory [MB] |", "| --- | --- | --- | --- |"]
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
        ("no gradient: full logits over ours", "at least 2.5", lambda n: over("forward", "full", "ours", n)),
        ("no gradient: ours over the product", "at most 1.15", lambda n: over("forward", "ours", "product", n)),
        ("step: full logits over ours", "at least 1.5", lambda n: over("step", "full", "ours", n)),
        ("step: ours over TRL's fused head", "at most 1", lambda n: over("step", "ours", "trl", n)),
        ("step, memory: ours over full logits", "at most 0.1", lambda n: memory(n, without=False)),
        ("the same without the gradients", "", lambda n: memory(n, without=True)),
    ]
    header = ["| ratio | goal | 1 thread | 2 threads |", "| --- | --- | --- | --- |"]
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
