"""The published trajectories: the shape that each name promises."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrostat.control import (
    Band,
    Initial,
    decrease_increase_decrease,
    entrocraft_band,
    hold_then_decay,
    increase_then_decrease,
    oscillating_decay,
)
from entrostat.control.targets import check_target, target_at
from entrostat.errors import ConfigError

START = 0.5


def curve(target: Any, steps: int) -> list[float]:
    return [target_at(target, step, START) for step in range(steps + 1)]


def turns(values: list[float]) -> list[int]:
    """The steps at which a curve turns round."""
    moves = [(step, b - a) for step, (a, b) in enumerate(itertools.pairwise(values)) if abs(b - a) > 1e-12]
    return [step for (_, before), (step, after) in itertools.pairwise(moves) if before * after < 0]


long = st.integers(8, 400)


@given(steps=long, peak=st.floats(1.1, 2), end=st.floats(0, 0.9), turn=st.floats(0.1, 0.9))
def test_increase_then_decrease(steps: int, peak: float, end: float, turn: float) -> None:
    values = curve(increase_then_decrease(steps, Initial(peak), Initial(end), turn=turn), steps)
    (top,) = turns(values)
    assert top == min(max(round(turn * steps), 1), steps - 1)
    assert (values[0], values[top], values[-1]) == pytest.approx((START, peak * START, end * START))


@given(steps=long, valley=st.floats(0.1, 0.9), peak=st.floats(0.91, 2), end=st.floats(0, 0.5))
def test_decrease_increase_decrease(steps: int, valley: float, peak: float, end: float) -> None:
    values = curve(decrease_increase_decrease(steps, Initial(valley), Initial(peak), Initial(end)), steps)
    low, high = turns(values)
    assert (low, high) == (round(steps / 4), round(steps / 2))
    assert [values[i] for i in (0, low, high, -1)] == pytest.approx([START * f for f in (1, valley, peak, end)])


@given(steps=st.integers(60, 200), descents=st.integers(1, 5))
def test_oscillating_decay(steps: int, descents: int) -> None:
    """Between 0.2 of the start and a line that falls from the start to there."""
    values, low = curve(oscillating_decay(steps, descents), steps), 0.2 * START
    upper = [START + (low - START) * step / steps for step in range(steps + 1)]
    assert all(low - 1e-12 <= value <= line + 1e-12 for value, line in zip(values, upper, strict=True))
    assert values[0] == START and values[-1] == pytest.approx(low)
    assert len(turns(values)) == 2 * (descents - 1)
    tops = [values[step] for step in turns(values)[1::2]]
    assert tops == sorted(tops, reverse=True)


@given(steps=long, hold=st.floats(0.1, 0.9))
def test_hold_then_decay(steps: int, hold: float) -> None:
    values = curve(hold_then_decay(steps, hold=hold), steps)
    kept = min(max(round(hold * steps), 1), steps - 1)
    assert set(values[: kept + 1]) == {START}
    assert values[kept:] == sorted(values[kept:], reverse=True) and values[-1] == pytest.approx(0.9 * START)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_entrocraft_band(shape: Any) -> None:
    band = entrocraft_band(100, shape=shape)
    assert isinstance(band, Band)
    assert [target_at(edge, step) for edge in (band.low, band.high) for step in (0, 50, 100)] == pytest.approx(
        [0.6, 0.5, 0.4, 0.7, 0.6, 0.5]
    )
    for edge in (band.low, band.high):
        assert curve(edge, 120) == sorted(curve(edge, 120), reverse=True)


PATTERNS: dict[str, Callable[[int], Any]] = {
    "id": lambda steps: increase_then_decrease(steps, Initial(1.3), 0.1),
    "did": lambda steps: decrease_increase_decrease(steps, Initial(0.7), Initial(1.2), 0.1),
    "od": lambda steps: oscillating_decay(steps, 3),
    "hold": lambda steps: hold_then_decay(steps),
    "band": lambda steps: entrocraft_band(steps, shape="cosine"),
}


@pytest.mark.parametrize("make", PATTERNS.values(), ids=PATTERNS.keys())
def test_patterns_are_continuous_and_end(make: Callable[[int], Any]) -> None:
    """Ten times the steps, a tenth of the largest move: no jump anywhere; and nothing moves after the last step."""
    moves = []
    for steps in (100, 1000):
        check_target(make(steps))
        values = curve(make(steps), steps + 5)
        moves.append(max(abs(b - a) for a, b in itertools.pairwise(values)))
        assert len(set(values[steps:])) == 1
    assert moves[1] == pytest.approx(moves[0] / 10, rel=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: increase_then_decrease(1, 0.5, 0.1), "steps.*1"),
        (lambda: increase_then_decrease(100, 0.5, 0.1, turn=1.0), r"turn.*1\.0"),
        (lambda: decrease_increase_decrease(100, 0.2, 0.4, 0.1, turns=(0.5,)), "turns"),  # type: ignore[arg-type]
        (lambda: decrease_increase_decrease(100, 0.2, 0.4, 0.1, turns=(0.5, 0.3)), r"\[0, 50, 30, 100\]"),
        (lambda: oscillating_decay(100, 0), "descents.*0"),
        (lambda: hold_then_decay(100, hold=0.0), r"hold.*0\.0"),
        (lambda: entrocraft_band(100, shape="square"), "shape.*'square'"),  # type: ignore[arg-type]
        (lambda: entrocraft_band(100, low=0.3), r"low.*0\.3"),  # type: ignore[arg-type]
        (lambda: entrocraft_band(100, low=(0.8, 0.4)), "empty at step 0"),
    ],
)
def test_refusals_name_the_value(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
