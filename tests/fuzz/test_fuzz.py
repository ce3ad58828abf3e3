"""A short form of the campaign: nothing but refusals with a sentence and right results."""

from __future__ import annotations

import pytest
from fuzz.campaign import KINDS, SEED

SHORT = {"configurations": 60, "logs": 150, "states": 150, "tensors": 200, "plants": 8}


@pytest.mark.parametrize("kind", SHORT)
def test_nothing_ends_in_a_traceback(kind: str) -> None:
    found = KINDS[kind](SHORT[kind])
    assert found["tried"] == SHORT[kind] == found["refused"] + found["survived"], found.faults[:5]
    assert found["survived"] and (found["refused"] or kind == "plants"), "one side is never met"


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been() -> None:
    found = KINDS["kills"](2, SEED + 1)  # type: ignore[call-arg]
    assert found["survived"] == found["tried"], found.faults
