"""The closing table: what came out, one column per run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from entrostat.cli._text import shown
from entrostat.run.summary import shown_once

# What `eval/always` and its like are called in words: shares of the problems.
TRIES = {"always": "solved in every try", "sometimes": "solved in some tries", "never": "solved in no try"}


def closing_table(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """Runs side by side."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in summaries:
        table.add_column(Text(shown(name)), justify="right", no_wrap=True)
    evals = [summary.get("eval", {}).get(end, {}) for summary in summaries.values() for end in ("start", "end")]
    scores = shown_once(evals)
    columns = [
        _facts(summary, start, end)
        for summary, start, end in zip(summaries.values(), scores[::2], scores[1::2], strict=True)
    ]
    for heading in dict.fromkeys(heading for column in columns for heading in column):
        table.add_row(Text(shown(heading)), *(Text(column.get(heading, "-")) for column in columns))
    return table


def _facts(summary: Mapping[str, Any], start: Mapping[str, Any], end: Mapping[str, Any]) -> dict[str, str]:
    entropy, reward = summary.get("entropy", {}), summary.get("reward", {})
    shown = {
        "entropy, start -> end [nats]": _arrow(entropy.get("start"), entropy.get("end"), 3),
        "target": _number(entropy.get("target_end"), 3),
    }
    if error := entropy.get("second_half"):
        shown["error over the second half, rms"] = _with_share(error, "rms_error")
        shown["error over the second half, mean"] = _with_share(error, "mean_error")
    shown["reward, start -> end"] = _arrow(reward.get("start"), reward.get("end"), 2)
    if groups := summary.get("groups_without_spread"):
        shown["groups whose rewards agree, start -> end"] = _arrow(groups["start"], groups["end"], 2)
    for name in end:
        if name != "step":
            kind = (
                name.removeprefix("train/") + " on training problems"
                if name.startswith("train/")
                else f"held-out {TRIES.get(name, name)}"
            )
            shown[f"{kind}, start -> end"] = _arrow(start.get(name), end[name], 2)
    if (seconds := summary.get("train_seconds")) is not None:
        shown["seconds"] = _number(seconds, 0)
    return shown


def _arrow(start: float | None, end: float | None, digits: int) -> str:
    return f"{_number(start, digits)} -> {_number(end, digits)}"


def _with_share(error: Mapping[str, float], name: str) -> str:
    share = error.get(f"relative_{name}")
    return _number(error[name], 3) + (f" ({share:.1%})" if share is not None else "")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
