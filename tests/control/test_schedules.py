from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrostat.control import Constant, Cosine, Linear, Piecewise, Schedule
from entrostat.errors import ConfigError


def test_constant() -> None:
    assert [Constant(0.3).at(step) for step in (0, 1, 10**9)] == [0.3] * 3


def test_linear() -> None:
    schedule = Linear(1.0, 0.5, 4)
    assert [schedule.at(step) for step in range(6)] == [1.0, 0.875, 0.75, 0.625, 0.5, 0.5]
    assert schedule.at(-3) == 1.0


def test_cosine() -> None:
    schedule = Cosine(1.0, 0.0, 4)
    assert [schedule.at(step) for step in range(6)] == pytest.approx(
        [(1 + math.cos(math.pi * min(step, 4) / 4)) / 2 for step in range(6)]
    )
    assert schedule.at(2) == pytest.approx(0.5)
    assert schedule.at(0) == 1.0 and schedule.at(-1) == 1.0


def test_piecewise() -> None:
    schedule = Piecewise(((2, 1.0), (4, 2.0), (5, 0.0), (9, 0.0)))
    assert [schedule.at(step) for step in range(11)] == [1, 1, 1, 1.5, 2, 0, 0, 0, 0, 0, 0]
    assert Piecewise([[3, 0.5]]).at(0) == Piecewise([[3, 0.5]]).at(7) == 0.5  # type: ignore[arg-type]


SCHEDULES: list[Any] = [Constant(0.4), Linear(0.9, 0.2, 50), Cosine(0.2, 0.9, 50), Piecewise(((0, 0.2), (30, 0.9)))]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@given(step=st.integers(-10, 10**6))
def test_between_its_ends_and_the_same_for_equal_records(schedule: Any, step: int) -> None:
    assert isinstance(schedule, Schedule)
    assert 0.2 <= schedule.at(step) <= 0.9
    assert type(schedule.at(step)) is float
    assert hash(schedule) == hash(type(schedule)(*vars(schedule).values()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(math.nan), "value.*nan"),
        (lambda: Constant("a"), "value.*'a'"),
        (lambda: Constant(True), "value.*True"),
        (lambda: Constant(math.inf), "value.*inf"),
        (lambda: Linear(math.inf, 0.0, 3), "start.*inf"),
        (lambda: Linear(0.0, None, 3), "end.*None"),
        (lambda: Linear(0.0, 1.0, 0), "steps.*0"),
        (lambda: Linear(0.0, 1.0, 2.5), r"steps.*2\.5"),
        (lambda: Cosine(0.0, 1.0, -1), "steps.*-1"),
        (lambda: Cosine(0.0, 1.0, True), "steps.*True"),
        (lambda: Piecewise(()), "points"),
        (lambda: Piecewise(((0, 1.0), (0, 2.0))), r"\[0, 0\]"),
        (lambda: Piecewise(((5, 1.0), (3, 2.0))), r"\[5, 3\]"),
        (lambda: Piecewise(((0, 1.0), (3, math.nan))), "nan"),
        (lambda: Piecewise(((0, 1.0), (1.5, 2.0))), r"1\.5"),
        (lambda: Piecewise(((0, 1.0, 2.0),)), r"\(0, 1\.0, 2\.0\)"),
        (lambda: Piecewise((0, 1.0)), "points.*0"),
    ],
)
def test_refusals_name_the_value(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
