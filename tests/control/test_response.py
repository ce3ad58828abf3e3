"""Settling time, overshoot and the rest, on series whose numbers are known."""

from __future__ import annotations

import math
import random

import pytest

from entrostat.control.response import centered_mean, noise_band, response
from entrostat.errors import DataError


def test_an_exponential_approach() -> None:
    """0.3 + 0.1 exp(-t/10) is within 5 % of its change from t = 10 ln 20 = 29.96 on."""
    found = response([0.3 + 0.1 * math.exp(-t / 10) for t in range(200)], 0.3)
    assert (found.settling, found.overshoot) == (30, 0.0)
    assert found.change == pytest.approx(0.1) and found.band == pytest.approx(0.005)
    assert found.steady_error == pytest.approx(sum(0.1 * math.exp(-t / 10) for t in range(100, 200)) / 100)
    assert found.saturated is None and found.recoveries == ()


def test_a_swing_counts_until_it_stays_inside() -> None:
    series = [1 + math.exp(-t / 20) * math.cos(t / 5) for t in range(400)]
    found = response(series, 1.0)
    assert found.settling is not None
    assert all(abs(value - 1) <= 0.05 for value in series[found.settling :])
    assert abs(series[found.settling - 1] - 1) > 0.05
    assert found.overshoot == pytest.approx(-min(series) + 1)


def test_from_below_the_other_side_is_above() -> None:
    assert response([0.0, 0.5, 1.2, 1.0], 1.0).overshoot == pytest.approx(0.2)
    assert response([2.0, 1.5, 1.2, 1.0], 1.0).overshoot == 0


def test_an_error_that_stays_is_never_settled() -> None:
    found = response([0.5, 0.4, 0.35, 0.35], 0.3, saturated=[1, 1, 0, -1])
    assert found.settling is None
    assert found.steady_error == found.rms_error == pytest.approx(0.05)
    assert found.saturated == 0.75


def test_the_last_moment_is_no_settling() -> None:
    assert response([*[1.0] * 38, 0.0, 0.0], 0.0).settling is None
    assert response([*[1.0] * 35, *[0.0] * 5], 0.0).settling == 35


def test_recovery_after_events() -> None:
    series = [1.0, 0.0, 0.0, 0.0, 0.6, 0.3, 0.0, 0.0, -0.5, -0.5]
    found = response(series, 0.0, events=(4, 8))
    assert found.settling == 1 and found.recoveries == (2, None)


def test_a_moving_target_and_a_floor() -> None:
    targets = [0.5 - 0.01 * t for t in range(20)]
    found = response([target + 0.001 for target in targets], targets, least=0.002)
    assert found.settling == 0 and found.band == 0.002 and found.overshoot is None
    assert found.rms_error == pytest.approx(0.001)


def test_noise_is_found_and_does_not_hide_the_settling() -> None:
    draw = random.Random(0).gauss
    series = [0.22 + 0.05 * math.exp(-t / 10) + draw(0, 0.006) for t in range(400)]
    assert noise_band(series, widths=1.0) == pytest.approx(0.006, rel=0.15)
    assert response(series, 0.22).settling is None  # noise alone leaves 5 % of the change
    found = response(series, 0.22, window=9, least=noise_band(series, 9))
    assert found.band == pytest.approx(0.006, rel=0.15) and found.settling is not None and 10 < found.settling < 45


def test_a_share_of_the_steps_may_lie_outside() -> None:
    series = [1.0, 1.0, *([0.0] * 30), 0.3, *([0.0] * 30)]
    assert response(series, 0.0).settling == 33
    assert response(series, 0.0, inside=0.95).settling == 2
    assert response([1.0, 0.0] * 20, 0.0, inside=0.95).settling is None
    with pytest.raises(DataError, match=r"inside.*1\.5"):
        response(series, 0.0, inside=1.5)


def test_centered_mean_by_hand() -> None:
    assert centered_mean([1.0, 2.0, 6.0], 3) == pytest.approx([1.5, 3.0, 4.0])
    assert centered_mean([1.0, 2.0, 6.0], 1) == [1.0, 2.0, 6.0]
    assert centered_mean([1.0, 3.0, 5.0], 2) == pytest.approx([2.0, 4.0, 5.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: response([], 0.1), "at least one"),
        (lambda: response([1.0, 2.0], [1.0]), "target.*2.*1"),
        (lambda: response([1.0, math.nan], 1.0), "measured.*step 1"),
        (lambda: response([1.0, 2.0], 1.0, events=(2,)), "step 2"),
        (lambda: response([1.0, 2.0], 1.0, window=0), "window.*0"),
        (lambda: response([1.0, 2.0], 1.0, saturated=[0]), "saturated"),
    ],
)
def test_refusals(make, message) -> None:
    with pytest.raises(DataError, match=message):
        make()
