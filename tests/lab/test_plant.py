"""The linear plant, and a controller on it."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest

from entrostat.control import PI, Constant, P
from entrostat.control.knob import OpenLoop
from entrostat.errors import ConfigError
from entrostat.lab import Event, LinearPlant, closed_loop


def test_open_loop_by_hand() -> None:
    trace = closed_loop(LinearPlant(0.01, drift=-0.002, delay=0, start=1.0), OpenLoop(0.5), 3)
    assert trace.entropy == pytest.approx([1.0, 1.0 - 0.007, 1.0 - 0.014])
    assert trace.target == [] and trace.output == [0.5, 0.5, 0.5]


def test_momentum_reaches_the_same_rate_later() -> None:
    trace = closed_loop(LinearPlant(0.01, momentum=0.9, delay=0, start=1.0), OpenLoop(Constant(1.0)), 200)
    falls = [b - a for a, b in zip(trace.entropy[1:], trace.entropy, strict=False)]
    assert falls[0] == pytest.approx(0.001) and falls[60] == pytest.approx(0.01, rel=0.01)


def test_the_delay_holds_the_output_back() -> None:
    """Only after `delay` steps does the first answer to the error move the entropy."""
    for delay in (0, 1, 3):
        entropy = closed_loop(LinearPlant(0.1, delay=delay, start=2.0), P(1.0, limits=(-9, 9)), 6).entropy
        assert entropy[: delay + 1] == [2.0] * (delay + 1) and entropy[delay + 1] == pytest.approx(1.9)


def test_noise_and_wander_have_their_sizes_and_repeat_with_the_seed() -> None:
    plant = LinearPlant(0.01, noise=0.02, wander=0.005, start=50.0)
    trace = closed_loop(plant, OpenLoop(0.0), 4000, seed=3)
    moves = [b - a for a, b in zip(trace.entropy, trace.entropy[1:], strict=False)]
    errors = [m - e for m, e in zip(trace.measured, trace.entropy, strict=True)]
    assert statistics.pstdev(moves) == pytest.approx(0.005, rel=0.05)
    assert statistics.pstdev(errors) == pytest.approx(0.02, rel=0.05)
    assert closed_loop(plant, OpenLoop(0.0), 50, seed=3).measured == trace.measured[:50]


def test_events_change_the_plant_from_their_step_on() -> None:
    events = (Event(3, drift=-0.1), Event(5, learning_rate=2.0), Event(5, gain=0.2))
    entropy = closed_loop(LinearPlant(0.1, delay=0, start=9.0), OpenLoop(1.0), 8, events=events).entropy
    assert [round(b - a, 9) for a, b in itertools.pairwise(entropy)] == [-0.1] * 3 + [-0.2] * 2 + [-0.6] * 2


def test_an_actuator_that_raises_is_given_its_sign() -> None:
    trace = closed_loop(LinearPlant(0.05, drift=-0.01, start=0.2), PI(0.5, 2, 0.05, (0, 9), action="raise"), 400)
    assert trace.entropy[-1] == pytest.approx(0.5, abs=1e-3)


def test_the_entropy_stops_at_zero() -> None:
    assert min(closed_loop(LinearPlant(0.1, start=0.2), OpenLoop(2.0), 20).entropy) == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearPlant(0.0), "gain"),
        (lambda: LinearPlant(-1.0), "gain.*-1"),
        (lambda: LinearPlant(0.1, momentum=1.0), "momentum.*1.0"),
        (lambda: LinearPlant(0.1, delay=0.5), "delay.*0.5"),  # type: ignore[arg-type]
        (lambda: LinearPlant(0.1, noise=math.nan), "noise.*nan"),
        (lambda: Event(3), "changes nothing"),
        (lambda: Event(0, drift=1.0), "`at`.*0"),
        (lambda: Event(3, gain=-1.0), "gain.*step 3.*-1"),
    ],
)
def test_refusals(make, message) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
