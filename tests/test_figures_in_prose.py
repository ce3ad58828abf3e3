"""The figures in README.md and docs/choose.md are those of the results that the repository holds."""

from __future__ import annotations

import json
import runpy
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LONG = ROOT / "benchmarks" / "quality" / "long"
README, CHOOSE = (" ".join((ROOT / page).read_text().split()) for page in ("README.md", "docs/choose.md"))
STUDY = runpy.run_path(str(LONG / "scores.py"))
score, points_above_plain = STUDY["score"], STUDY["points_above_plain"]
paired, mean_and_half_width = STUDY["paired"], STUDY["mean_and_half_width"]
SCORES = ("greedy", "16", "1")  # greedy, pass@16 and avg


def read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["runs"]


PLAYERS, TINY = read(LONG / "results.json"), read(LONG / "tiny.json")


def runs(setting: str, arm: str) -> list[dict[str, Any]]:
    found = [row for row in PLAYERS if (row["setting"], row["arm"], row["steps"]) == (setting, arm, 1000)]
    assert found, f"no run of {arm} with {setting}"
    return found


def gain(setting: str, arm: str, name: str) -> str:
    return points_above_plain([*runs(setting, "plain"), *runs(setting, arm)], arm, name)


def last(rows: Sequence[dict[str, Any]], name: str) -> float:
    return fmean(row["windows"][name][-1] for row in rows)


def cells(label: str) -> list[str]:
    line = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip().strip("*") for cell in line.split("|")[2:-1]]


@pytest.mark.parametrize(
    ("label", "arm"),
    [
        ("plain GRPO", "plain"),
        ("`hold` at 75 % of the start", "hold-75%"),
        ("`hold`, from 100 to 15 %", "anneal-linear"),
        ("[Clip_V](docs/methods/clip_v.md) (2602.03392) with mu 1", "clip_v-1"),
    ],
)
def test_the_table_of_the_readme(label: str, arm: str) -> None:
    rows = runs("three numbers", arm)
    scores = [fmean(score(row, name) for row in rows) for name in SCORES]
    expected = [f"{last(rows, 'entropy'):.2f}", f"{last(rows, 'without_spread'):.0%}".replace("%", " %")]
    assert cells(label) == expected + [f"{value:.3f}" for value in scores]


def test_the_start_in_the_table_of_the_readme() -> None:
    """Its entropy is the one that the targets in the rows below are shares of."""
    held = runs("three numbers", "hold-100%")
    scores = [fmean(score(row, name, 0) for row in held) for name in SCORES]
    start = fmean(row["windows"]["target"][0] for row in held)
    assert cells("the start") == [f"{start:.2f}", "", *(f"{value:.3f}" for value in scores)]


def test_gains_over_five_starts() -> None:
    greedy, pass_k, avg = (gain("three numbers", "hold-75%", name) for name in SCORES)
    assert f"75 % gains {greedy.lstrip('+')} points greedily" in README
    assert f"**75 %**: {greedy} points greedily and {pass_k} in pass@16" in CHOOSE
    assert f"for {-float(avg.split()[0]):.0f} points of avg" in CHOOSE
    greedy, pass_k, avg = (gain("three numbers", "anneal-linear", name) for name in SCORES)
    assert f"gains {greedy.lstrip('+')} points greedily" in README
    assert f"gained {greedy[1:]} points greedily and {pass_k[1:]} in pass@16, and lost nothing (avg {avg})" in CHOOSE


def test_gains_where_right_answers_are_rare() -> None:
    rare = "four numbers"
    floor, hold, clip, bonus = (gain(rare, arm, "greedy") for arm in ("floor-75%", "hold-75%", "clip_v-1", "bonus-0.1"))
    assert f"a floor that only raises: {floor} greedily, {hold} without" in CHOOSE
    assert f"did best ({clip})" in CHOOSE and f"fixed coefficient of 0.1 gained {bonus}" in CHOOSE
    common, band = (gain(task, "band-75-100%", "greedy") for task in ("three numbers", rare))
    assert f"keeps the entropy from climbing: {band}, and {common} where right answers are common" in CHOOSE
    points = [f"{float(text.split()[0]):.0f}" for text in (clip, bonus, hold)]
    assert "({} and {} points, `hold` {})".format(*points) in README


def test_the_language_model() -> None:
    def solved(arm: str) -> float:
        return fmean(row["judged"]["1000"]["pass@16"] for row in TINY if row["arm"] == arm)

    assert f"{solved('hold-75%'):.3f} in 16 tries beside {solved('plain'):.3f}" in README
    wide = {row["arm"]: row["judged"]["1000"]["pass@16"] for row in read(LONG / "wide.json")}
    gains = [100 * (solved(arm) - solved("plain")) for arm in ("hold-50%", "hold-75%")]
    gains.append(100 * (wide["hold-75%"] - wide["plain"]))
    assert f"{int(min(gains))} to {round(max(gains))} points more in sixteen tries" in CHOOSE


def test_the_wide_policy_on_all_held_out_problems() -> None:
    rows = json.loads((LONG / "judged.json").read_text())["rows"]
    last = {row["arm"]: row for row in rows if (row["policy"], row["step"]) == ("wide", 2000)}
    hold, plain = (last[arm]["scores"]["greedy"] for arm in ("hold-75%", "plain"))
    assert f"{hold:.3f} beside {plain:.3f} after 2,000 steps" in README
    gain = last["hold-75%"]["above plain"]["greedy"]
    assert gain["mean"] == pytest.approx(hold - plain, abs=1e-4)
    told = "{mean:.1f} ± {half_width:.1f}".format(**{name: 100 * value for name, value in gain.items()})
    assert f"{told} points more in one try" in CHOOSE
    study = " ".join((ROOT / "docs" / "study.md").read_text().split())
    assert f"{told} points (one seed)" in study and f"after 2,000 {told} ahead (95 %, over problems" in study


def test_four_updates_a_batch() -> None:
    """hold at 75 % beside plain GRPO of the same seeds, on the tiny policy."""
    rows = read(LONG / "tiny-4.json")
    assert len({row["seed"] for row in rows if row["arm"] == "hold-75%"}) == 3
    greedy, pass_k = (
        mean_and_half_width(
            [100 * each for each in paired(rows, "hold-75%", lambda row, name=name: row["judged"]["1000"][name])], 1
        )
        for name in ("greedy", "pass@16")
    )
    told = f"{greedy} points greedily and {pass_k} in sixteen tries"
    study = " ".join((ROOT / "docs" / "study.md").read_text().split())
    assert told in CHOOSE and told in study


def test_how_exactly_it_holds() -> None:
    """Over 2,000 steps, from the table that the study's report writes."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (ROOT / "docs" / "study.md").read_text().splitlines()
        if line.startswith("| hold-") and "| 2,000 |" in line
    ]
    assert [row[:2] for row in rows] == [[f"hold-{level}%", "3"] for level in (50, 75, 100)]
    off = max(abs(float(row[3].rstrip("%"))) for row in rows)
    worst = {
        name: max(float(row[4].rstrip("%")) for row in rows if ("75%" in row[0]) == name) for name in (True, False)
    }
    assert f"within {off:g} % of the target on average" in README
    assert f"within {worst[True]:g} % at 75 %, and within {worst[False]:g} % at the other levels" in README


def test_what_speed_the_pages_name() -> None:
    rows = json.loads((ROOT / "benchmarks" / "speed" / "overhead.json").read_text())["rows"]
    hold = next(row for row in rows if (row["model"], row["method"]) == ("tiny", "hold"))
    low, _, high = hold["paired_ratio_quartiles"]
    ratio = hold["ratio_of_medians"]
    assert f"takes {ratio:.2f} times plain TRL's (tiny policy, quartiles {low:.2f} to {high:.2f})" in README
