"""The study of benchmarks/quality/lens, in small: what the lens foresees is what exact policies then do."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

STUDY = Path(__file__).parents[2] / "benchmarks" / "quality" / "lens"
METHODS = ["observe", "hold", "high_entropy_tokens", "opefo", "only_tokens", "linear_bonus"]


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    sys.path.insert(0, str(STUDY))
    try:
        # Another study has a run.py too, so it gets no name among the modules.
        return runpy.run_path(str(STUDY / "run.py"))["study"](seed=0, steps=8, methods=METHODS)["methods"]
    finally:
        sys.path.remove(str(STUDY))
        sys.modules.pop("policies", None)


def test_watching_changes_nothing(rows: dict[str, Any]) -> None:
    assert {rows["observe"][key] for key in ("foreseen", "first", "measured", "reward")} == {0}


@pytest.mark.parametrize(
    ("method", "sign"), {"high_entropy_tokens": 1, "opefo": 1, "only_tokens": -1, "linear_bonus": 1}.items()
)
def test_the_sign_is_foreseen(rows: dict[str, Any], method: str, sign: int) -> None:
    assert all(sign * rows[method][key] > 0.05 for key in ("foreseen", "first", "measured"))


def test_a_held_entropy_is_the_one_asked_for_and_the_lens_says_that_it_can_be(rows: dict[str, Any]) -> None:
    assert rows["hold"]["turns"] == 1
    assert rows["hold"]["end"] == pytest.approx(1, abs=0.02)
    assert rows["observe"]["end"] < rows["hold"]["end"]


@pytest.mark.parametrize("method", ["opefo", "linear_bonus", "hold"])
def test_where_steps_are_small_the_first_order_says_most_of_it(rows: dict[str, Any], method: str) -> None:
    assert rows[method]["first"] == pytest.approx(rows[method]["measured"], rel=0.2)
