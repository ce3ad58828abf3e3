"""A finished run in a few numbers. Imports neither torch nor any host."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

MEASURED, TARGET = "entropy_control/measured", "entropy_control/target"
SPREADLESS = "frac_reward_zero_std"  # TRL's name: groups whose rewards all agree have no advantage, and teach nothing


def summarize(metrics: Sequence[dict[str, Any]], target: float | None = None) -> dict[str, Any]:
    """Entropy, control error, reward and evaluation of a run, from the lines of its metrics.

    Args:
        target: what to compare the entropy with where the method itself has no target [nats].
    """
    rows = [row for row in metrics if row.get(MEASURED) is not None]
    if not rows:
        return {"steps": 0}
    tenth = max(1, len(rows) // 10)
    tail = rows[-tenth:]
    rewards = [row["reward"] for row in tail if row.get("reward") is not None]
    return {
        "steps": rows[-1]["step"],
        "entropy": {
            "start": rows[0][MEASURED],
            "end": fmean(row[MEASURED] for row in tail),
            "target_end": rows[-1].get(TARGET, target),
            "second_half": control_error(rows[len(rows) // 2 :], target),
        },
        "reward": {"start": rows[0].get("reward"), "end": fmean(rewards) if rewards else None},
        "groups_without_spread": {"start": _mean(rows[:tenth], SPREADLESS), "end": _mean(tail, SPREADLESS)},
        "eval": evaluation(metrics),
    }


def _mean(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [row[key] for row in rows if row.get(key) is not None]
    return fmean(values) if values else None


def control_error(rows: Sequence[dict[str, Any]], target: float | None = None) -> dict[str, float] | None:
    """Mean and root mean square of measured - target [nats], and both relative to the target; None without one."""
    pairs = [(float(row[MEASURED]), float(wanted)) for row in rows if (wanted := row.get(TARGET, target)) is not None]
    if not pairs:
        return None
    errors = [measured - wanted for measured, wanted in pairs]
    found = {"mean_error": fmean(errors), "rms_error": math.sqrt(fmean(e * e for e in errors))}
    if all(wanted > 0 for _, wanted in pairs):
        relative = [e / wanted for e, (_, wanted) in zip(errors, pairs, strict=True)]
        found["relative_mean_error"] = fmean(relative)
        found["relative_rms_error"] = math.sqrt(fmean(e * e for e in relative))
    return found


def evaluation(metrics: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The first and the last evaluation; empty where there was none."""
    rows = [(row["step"], {k[5:]: v for k, v in row.items() if k.startswith("eval/")}) for row in metrics]
    rows = [(step, values) for step, values in rows if values]
    if not rows:
        return {}
    return {"start": {"step": rows[0][0], **rows[0][1]}, "end": {"step": rows[-1][0], **rows[-1][1]}}


def shown_once(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Scores side by side without `avg@k` where it is `pass@1`, as everywhere that answers are right or wrong.

    Only for showing: with partial scores in any row both stay in all.
    """
    names = {name for row in rows for name in row if re.fullmatch(r"(.*/)?avg@\d+", name)}
    pairs = {name: name.rpartition("avg@")[0] + "pass@1" for name in names}
    twins = {
        name
        for name, single in pairs.items()
        if all(single in row and math.isclose(row[name], row[single], rel_tol=1e-9) for row in rows if name in row)
    }
    return [{key: value for key, value in row.items() if key not in twins} for row in rows]
