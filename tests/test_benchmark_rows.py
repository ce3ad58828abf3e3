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


@pytest.mark.parametrize(
    ("study", "module", "file"),
    [
        ("self_tuning", "results.py", "results.json"),
        ("disturbances", "run.py", "results.json"),
        ("frontier", "smollm2.py", "smollm2.json"),
    ],
)
def test_collecting_where_there_are_no_runs_changes_nothing(
    study: str, module: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a fresh clone, which has the results and no run folder."""
    for each in (BENCHMARKS, BENCHMARKS / study):
        monkeypatch.syspath_prepend(each)
    for name in ("results", "studies"):  # each study has its own of these names
        monkeypatch.delitem(sys.modules, name, raising=False)
    collect = runpy.run_path(str(BENCHMARKS / study / module))["collect"]
    committed = (BENCHMARKS / study / file).read_text()
    kept = tmp_path / file
    kept.write_text(committed)
    if study == "self_tuning":
        collect(tmp_path / "runs", kept)
    else:
        for name in ("RUNS", "SELF_TUNING"):
            monkeypatch.setitem(collect.__globals__, name, tmp_path / "runs")
        collect(kept)
    assert json.loads(kept.read_text()) == json.loads(committed)
