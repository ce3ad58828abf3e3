"""Gains from a settling time, checked by the shipped controller on the plant."""

from __future__ import annotations

import itertools
import math

import pytest

from entrostat.control import PI
from entrostat.control.response import response
from entrostat.errors import ConfigError
from entrostat.lab import LinearPlant, Loop, closed_loop, gains_for, place_poles, settling_time
from entrostat.lab.settling import errors

FREE = (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("read", "delay", "momentum"), list(itertools.product(("after", "before"), (0, 1), (0.0, 0.9)))
)
def test_the_promise_is_kept_by_the_shipped_controller(read, delay, momentum) -> None:
    gains = gains_for(150, 0.0025, integral_read=read, delay=delay, momentum=momentum)
    assert gains.reached and 140 <= gains.settling <= 150
    plant = LinearPlant(0.0025, momentum=momentum, delay=delay, start=10.05)
    controller = PI(10.0, gains.loop.kp, gains.loop.ki, FREE, integral_read=read)
    found = response(closed_loop(plant, controller, 600).measured, 10.0)
    assert found.settling == pytest.approx(gains.settling, abs=1)


def test_what_the_lag_forbids_is_said_and_the_fastest_given() -> None:
    gains = gains_for(40, 0.0025, momentum=0.9)
    assert not gains.reached and 120 < gains.settling < 140
    assert gains.settling <= gains_for(gains.settling + 1, 0.0025, momentum=0.9).settling + 1
    assert gains_for(40, 0.0025, momentum=0.5).reached


def test_softer_for_longer() -> None:
    loops = [gains_for(settling, 0.01).loop for settling in (20, 50, 100, 300)]
    assert [loop.kp for loop in loops] == sorted((loop.kp for loop in loops), reverse=True)
    assert all(loop.is_stable and loop.gain_margin > 2 for loop in loops)


@pytest.mark.parametrize(
    ("damping", "by_target", "by_drift", "overshoot"), [(1.0, 4.2, 5.8, 0.14), (0.7, 3.1, 2.9, 0.22)]
)
def test_the_table_of_the_module(damping, by_target, by_drift, overshoot) -> None:
    loop = place_poles(40, damping=damping)
    assert settling_time(loop) / 40 == pytest.approx(by_target, rel=0.03)
    course = errors(loop, 800, start=0.0, drift=1.0)
    settled = response(course, 0.0, least=0.05 * max(course)).settling
    assert settled is not None and settled / 40 == pytest.approx(by_drift, rel=0.03)
    assert -min(errors(loop, 800)) == pytest.approx(overshoot, rel=0.03)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"settling.*0"):
        gains_for(0)
    with pytest.raises(ConfigError, match="never settles"):
        settling_time(Loop(3.0, delay=1))
