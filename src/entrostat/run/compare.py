"""Methods compared from equal starts: the same policy, problems and seeds, one run folder each, means with intervals.

Runs of one seed are alike but for the method, so differences are paired by seed. Imports neither torch nor any host.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from entrostat.errors import ConfigError
from entrostat.run.folder import CONFIG, SUMMARY, write_json
from entrostat.run.record import Run

COMPARISON = "comparison.json"


@dataclass(frozen=True)
class Arm:
    """One method under one name. `settings` are overrides of the configuration, such as `method.target=0.2`."""

    name: str
    settings: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Arm:
        """`hold`, `hold target=0.2`, or with a name of its own, `low: hold target=0.1`.

        Raises:
            ConfigError: it names no method, or an option is not of the form key=value.
        """
        name, colon, rest = text.partition(":")
        words = (rest if colon else text).split()
        if not words or "=" in words[0]:
            raise ConfigError(f"method {text!r}: begin with a method's name, such as 'hold target=0.2'")
        for word in words[1:]:
            if "=" not in word:
                raise ConfigError(f"method {text!r}: {word!r} is not of the form key=value")
        label = (name if colon else " ".join(words)).strip()
        if not label or any(character in label for character in "/\\\0") or label.startswith("."):
            raise ConfigError(f"method {text!r}: {label!r} cannot name a folder; write 'a name: {' '.join(words)}'")
        return cls(label, (f"method={words[0]}", *(f"method.{word}" for word in words[1:])))


@dataclass(frozen=True)
class Case:
    """One run of a comparison, and its folder."""

    arm: Arm
    seed: int
    folder: Path

    @property
    def finished(self) -> bool:
        return (self.folder / SUMMARY).exists()

    @property
    def begun(self) -> bool:
        return (self.folder / CONFIG).exists()


def cases(folder: Path, arms: Sequence[Arm], seeds: Sequence[int]) -> list[Case]:
    """Every run, seed by seed, so that whatever is finished is balanced.

    Raises:
        ConfigError: two arms of one name.
    """
    names = [arm.name for arm in arms]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two methods are called {min(twice)!r}: name one of them, such as 'a name: {min(twice)}'")
    return [Case(arm, seed, folder / arm.name / f"seed-{seed}") for seed in seeds for arm in arms]


def check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Keep what all runs of this folder share, or refuse settings that differ from what they share already.

    Raises:
        ConfigError: a run added now would not be comparable; the message names the keys.
    """
    path = folder / COMPARISON
    known = read(path)["settings"] if path.exists() else None
    if known is not None and known != dict(settings):
        differ = sorted(key for key in {*known, *settings} if known.get(key) != settings.get(key))
        raise ConfigError(
            f"{folder} compares runs with other settings ({', '.join(differ)}): give the same ones, or another --out"
        )
    if known is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"settings": dict(settings), "arms": {}})


ROUNDING = 1e-12
"""What is smaller than this share of the numbers that it comes from is rounding: a difference of 0, not of 5.55e-17."""


def interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean and half-width of Student's 95 % interval of it; the half-width is None for fewer than two values."""
    from scipy.stats import t

    mean = fmean(values)
    if abs(mean) < ROUNDING * max(map(abs, values)):
        mean = 0.0
    found: dict[str, Any] = {"mean": mean, "half_width": None, "each": list(values)}
    if len(values) > 1:
        scale = stdev(values) / math.sqrt(len(values))
        found["half_width"] = float(t.ppf(0.975, len(values) - 1)) * scale
    return found


def read(path: Path) -> dict[str, Any]:
    """What a comparison has written down; `ConfigError` where it is damaged."""
    try:
        values = json.loads(path.read_text())
        return {"settings": dict(values["settings"]), "arms": dict(values["arms"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}): delete it to compare what the folder holds") from error


def collect(folder: Path, arms: Sequence[Arm]) -> dict[str, Any]:
    """Every finished run below `folder` in numbers, each arm's with intervals and beside the first arm; written down.

    `arms` come first, in their order; arms of earlier commands follow.
    """
    settings = read(folder / COMPARISON)["settings"]
    finished: dict[str, dict[int, dict[str, float]]] = {}
    order = [arm.name for arm in arms]
    places = sorted(folder.glob(f"*/seed-*/{SUMMARY}"))
    places.sort(key=lambda path: order.index(name) if (name := path.parents[1].name) in order else len(order))
    for path in places:
        seed = int(path.parent.name.removeprefix("seed-"))
        finished.setdefault(path.parents[1].name, {})[seed] = numbers(Run.load(path.parent))
    first = next(iter(finished.values()), {})
    found = {
        name: {
            "seeds": sorted(runs),
            "numbers": {key: interval(values) for key, values in _columns(runs).items()},
            "beside the first": {key: interval(values) for key, values in _columns(_differences(runs, first)).items()}
            if runs is not first
            else {},
        }
        for name, runs in finished.items()
    }
    record = {"settings": settings, "arms": found}
    write_json(folder / COMPARISON, record)
    return record


def numbers(run: Run) -> dict[str, float]:
    """What is compared of one run: tracking, reward, evaluation, time."""
    summary = run.summary
    entropy, reward = summary.get("entropy", {}), summary.get("reward", {})
    error = entropy.get("second_half") or {}
    found = {
        "entropy at the end": entropy.get("end"),
        "error, rms share": error.get("relative_rms_error"),
        "reward": reward.get("end"),
    }
    found |= {key: value for key, value in summary.get("eval", {}).get("end", {}).items() if key != "step"}
    steps = summary.get("steps")
    found["seconds per step"] = summary["train_seconds"] / steps if steps and "train_seconds" in summary else None
    found["peak memory [MiB]"] = summary.get("peak_memory_mib")
    return {key: float(value) for key, value in found.items() if value is not None}


def mean_run(runs: Sequence[Run]) -> Run:
    """Several seeds as one run: every step's mean of what all of them logged at it."""
    by_step: dict[int, list[Mapping[str, Any]]] = {}
    for run in runs:
        for row in run.metrics:
            by_step.setdefault(row["step"], []).append(row)
    rows = []
    for step, group in sorted(by_step.items()):
        if len(group) == len(runs):
            keys = [key for key in group[0] if all(isinstance(row.get(key), int | float) for row in group)]
            rows.append({key: fmean(row[key] for row in group) for key in keys} | {"step": step})
    return replace(runs[0], metrics=rows)


def _columns(runs: Mapping[int, Mapping[str, float]]) -> dict[str, list[float]]:
    """Each number over the seeds that have it."""
    keys = dict.fromkeys(key for values in runs.values() for key in values)
    return {key: [runs[seed][key] for seed in sorted(runs) if key in runs[seed]] for key in keys}


def _differences(
    runs: Mapping[int, Mapping[str, float]], first: Mapping[int, Mapping[str, float]]
) -> dict[int, dict[str, float]]:
    """Each number minus the first arm's, of the same seed."""
    return {
        seed: {key: _minus(value, first[seed][key]) for key, value in runs[seed].items() if key in first[seed]}
        for seed in runs
        if seed in first
    }


def _minus(one: float, other: float) -> float:
    """Exactly 0 where nothing but rounding differs: 0.1 + 0.2 and 0.3 are one score."""
    return 0.0 if math.isclose(one, other, rel_tol=ROUNDING) else one - other
