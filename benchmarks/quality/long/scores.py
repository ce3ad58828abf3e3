"""Scores of the players' runs, and what an arm scores above plain GRPO from the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from entrostat.run.compare import interval

PLAIN = "plain"


def score(row: dict[str, Any], name: str, step: int | None = None) -> float:
    """A run's score on held-out problems at one of its judged steps, the last by default; a number as `name` is pass@k's k."""
    found = row["judged"][str(row["steps"] if step is None else step)]["held_out"]
    return float(found[name] if name in found else found["pass"][name])


def above_plain(rows: Sequence[dict[str, Any]], arm: str, name: str) -> list[float]:
    """An arm's score minus that of plain GRPO from the same seed, of each seed that has both."""
    return paired(rows, arm, lambda row: score(row, name))


def paired(rows: Sequence[dict[str, Any]], arm: str, score_of: Callable[[dict[str, Any]], float]) -> list[float]:
    """The same of any score of a row."""
    plain = {row["seed"]: score_of(row) for row in rows if row["arm"] == PLAIN}
    return [score_of(row) - plain[row["seed"]] for row in rows if row["arm"] == arm and row["seed"] in plain]


def points_above_plain(rows: Sequence[dict[str, Any]], arm: str, name: str) -> str:
    """What an arm gains, in points: `+9.2 ± 3.8`."""
    return mean_and_half_width([100 * each for each in above_plain(rows, arm, name)], 1)


def mean_and_half_width(values: Sequence[float], digits: int = 3) -> str:
    """Mean, and half of its 95 % interval by Student's t where there are two values or more."""
    found = interval(values)
    return with_half_width(found["mean"], found["half_width"], digits)


def with_half_width(mean: float, half_width: float | None, digits: int) -> str:
    """`+9.2 ± 3.8`; the mean alone where there is no half-width."""
    return f"{mean:+.{digits}f}" + ("" if half_width is None else f" ± {half_width:.{digits}f}")
