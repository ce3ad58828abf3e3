"""A short form of the campaign: nothing but refusals with a sentence and right results."""

from __future__ import annotations

import json

import pytest
from fuzz.campaign import FULL, KINDS, SEED
from fuzz.table import PAGE, RESULTS, written

SHORT = {"configurations": 60, "logs": 150, "states": 150, "tensors": 200, "plants": 8}


@pytest.mark.parametrize("kind", SHORT)
def test_nothing_ends_in_a_traceback(kind: str) -> None:
    found = KINDS[kind](SHORT[kind])
    assert found["tried"] == SHORT[kind] == found["refused"] + found["survived"], found.faults[:5]
    assert found["survived"] and (found["refused"] or kind == "plants"), "one side is never met"


def test_the_page_shows_the_figures_of_the_campaign() -> None:
    page = PAGE.read_text()
    assert page == written(page)
    kinds = json.loads(RESULTS.read_text())["kinds"]
    assert {name: kinds[name]["kills" if name == "kills" else "tried"] for name in kinds} == {
        name: FULL[name] for name in kinds
    }
    assert all(found["other"] == 0 for found in kinds.values())


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been() -> None:
    found = KINDS["kills"](2, SEED + 1)  # type: ignore[call-arg]
    assert found["survived"] == found["tried"], found.faults
