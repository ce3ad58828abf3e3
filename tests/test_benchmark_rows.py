"""Going on with a study on another machine loses no row that was measured before."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ROWS = runpy.run_path(str(BENCHMARKS / "common" / "rows.py"))


def test_rows_of_runs_elsewhere_are_kept_in_the_order_of_the_study() -> None:
    order = [{"method": method, "seed": seed} for method in ("flow", "hold") for seed in (0, 1)]
    before = [
        {"seed": 1, "method": "hold", "rms": 0.1},
        {"seed": 0, "method": "flow", "rms": 0.2},
        {"seed": 0, "method": "given up", "rms": 0.3},
    ]
    rows = ROWS["with_earlier"](
        [{"method": "hold", "seed": 1, "rms": 0.4}, {"method": "hold", "seed": 0, "rms": 0.5}], before, order
    )
    assert [(row["method"], row["seed"], row["rms"]) for row in rows] == [
        ("flow", 0, 0.2),
        ("hold", 0, 0.5),
        ("hold", 1, 0.4),
    ]


def test_each_machine_is_named_once_whatever_its_commits() -> None:
    here = {"python": "3.11", "packages": {"torch": "2.13"}, "machine": {"cores": 2}}
    there = here | {"machine": {"cores": 64}}
    runs = [here | {"git": "a"}, here | {"git": "b"}, there | {"git": None}]
    assert ROWS["environments"](runs, [there]) == [there, here]


def test_collecting_where_there_are_no_runs_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fresh clone, which has the results and no run folder."""
    study = BENCHMARKS / "quality" / "holding"
    for each in (BENCHMARKS, study):
        monkeypatch.syspath_prepend(each)
    for name in ("results", "studies"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    collect = runpy.run_path(str(study / "results.py"))["collect"]
    committed = (study / "results.json").read_text()
    kept = tmp_path / "results.json"
    kept.write_text(committed)
    collect(tmp_path / "runs", kept)
    assert json.loads(kept.read_text()) == json.loads(committed)
