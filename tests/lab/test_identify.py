"""The plant behind simulated logs is found again, with honest errors."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from entrostat.control import PI, Piecewise, SelfTuning
from entrostat.control.knob import OpenLoop
from entrostat.control.response import response
from entrostat.errors import ConfigError, DataError
from entrostat.lab import LinearPlant, closed_loop, identify

PLANT = LinearPlant(0.0025, drift=-0.0015, momentum=0.9, start=0.26, noise=0.006, wander=0.001)


def acting(output: list[float], delay: int) -> list[float]:
    """The output that acted on each step's update."""
    return [0.0] * delay + output[: len(output) - delay]


@pytest.mark.parametrize("delay", [0, 1])
def test_a_closed_loop_log_gives_the_plant_back(delay) -> None:
    """Over many seeds: no bias beyond what their number leaves, and errors that cover as they should."""
    plant = LinearPlant(**{**PLANT.settings, "delay": delay})
    found = []
    for seed in range(24):
        trace = closed_loop(plant, PI(0.22, 40, 0.6, (-2, 2)), 120, seed=seed)
        found.append(identify(trace.measured, acting(trace.output, delay)))
    for name, true in (("gain", 0.0025), ("drift", -0.0015), ("momentum", 0.9)):
        misses = [(getattr(each, name) - true) / getattr(each, f"{name}_error") for each in found]
        assert abs(statistics.fmean(misses)) < 0.8, name
        assert sum(abs(miss) < 2 for miss in misses) >= 20, name
    assert statistics.fmean(each.noise for each in found) == pytest.approx(0.006, rel=0.1)
    assert all(each.gain_known for each in found)


def test_the_plant_of_a_log_has_the_error_of_its_run() -> None:
    """All that these runs are off by is noise, and their logs say how much."""
    hold = SelfTuning(0.2, 25)

    def off(plant: LinearPlant, seed: int) -> float:
        return response(closed_loop(plant, hold, 75, seed=seed).measured, 0.2).rms_error

    plant = LinearPlant(0.004, drift=-0.0005, momentum=0.86, start=0.26, noise=0.006, wander=0.001)
    real, foretold = [], []
    for seed in range(12):
        trace = closed_loop(plant, hold, 75, seed=seed)
        real.append(response(trace.measured, 0.2).rms_error)
        own = identify(trace.measured, acting(trace.output, 1)).plant()
        foretold.append(statistics.fmean(off(own, again) for again in range(100, 110)))
    assert statistics.fmean(foretold) == pytest.approx(statistics.fmean(real), rel=0.15)
    assert sum(0.7 < a / b < 1.5 for a, b in zip(foretold, real, strict=True)) >= 10


def test_a_probe_of_forty_steps_is_enough_where_the_output_is_large() -> None:
    steps = Piecewise(((0, 0.0), (7, 0.0), (8, 2.0), (23, 2.0), (24, -2.0)))
    found = [
        identify(t.measured, acting(t.output, 1))
        for t in (closed_loop(PLANT, OpenLoop(steps), 40, seed=s) for s in range(8))
    ]
    assert statistics.fmean(each.gain for each in found) == pytest.approx(0.0025, rel=0.25)
    assert sum(each.gain_known for each in found) >= 6


def test_without_an_effect_the_gain_is_not_known() -> None:
    """Outputs that move nothing: two standard errors leave out zero in one log of twenty, so in few of these."""
    draw = random.Random(1)
    logs = [[0.3 + draw.gauss(0, 0.006) for _ in range(60)] for _ in range(20)]
    found = [identify(log, [draw.choice([-1.0, 1.0]) for _ in log]) for log in logs]
    unknown = [each for each in found if not each.gain_known]
    assert len(unknown) >= 17
    assert "neither it nor its sign" in unknown[0].verdict
    with pytest.raises(DataError, match="no plant"):
        unknown[0].plant()


def test_an_output_that_never_changes_says_nothing() -> None:
    found = identify([0.3 - 0.001 * t + 0.002 * (t % 3) for t in range(30)], [0.7] * 30)
    assert not found.gain_known and math.isinf(found.gain_error) and "never changed" in found.verdict


def test_the_wrong_sign_is_seen() -> None:
    trace = closed_loop(
        LinearPlant(0.01, start=5.0, noise=0.003), OpenLoop(Piecewise(((0, 0.0), (20, 2.0), (40, -2.0)))), 60
    )
    found = identify(trace.measured, [-each for each in acting(trace.output, 1)])
    assert found.gain == pytest.approx(-0.01, rel=0.1) and found.gain_known and "wrong sign" in found.verdict
    with pytest.raises(DataError, match="wrong sign"):
        found.plant()


def test_units_do_not_matter() -> None:
    trace = closed_loop(PLANT, PI(0.22, 40, 0.6, (-2, 2)), 100)
    plain = identify(trace.measured, trace.output, momentum=0.9)
    scaled = identify([1e3 * each for each in trace.measured], [1e-4 * each for each in trace.output], momentum=0.9)
    assert scaled.gain == pytest.approx(1e7 * plain.gain, rel=1e-6)
    assert scaled.noise == pytest.approx(1e3 * plain.noise, rel=1e-6)
    assert plain.momentum == pytest.approx(0.9) and plain.momentum_error == pytest.approx(0, abs=1e-9)
    assert plain.plant().momentum == pytest.approx(0.9)


def test_refusals() -> None:
    with pytest.raises(DataError, match="at least 12 steps, got 5"):
        identify([0.1] * 5, [0.1] * 5)
    with pytest.raises(DataError, match="one length"):
        identify([0.1] * 20, [0.1] * 19)
    with pytest.raises(DataError, match="output is not finite at row 3"):
        identify([0.1] * 20, [0.0] * 3 + [math.nan] * 17)
    with pytest.raises(ConfigError, match=r"momentum.*1\.5"):
        identify([0.1] * 20, [0.1] * 20, momentum=1.5)
