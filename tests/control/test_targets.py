"""Targets: fractions of the start, bands, slopes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrostat.control import PI, Band, Constant, Cosine, Initial, Linear, Oscillating, Piecewise, Step
from entrostat.control.targets import aim, check_target, is_relative, levels, slope_at, target_at
from entrostat.errors import ConfigError

entropies = st.floats(0.01, 5)
FALLING = Linear(0.8, 0.2, 30)
BANDS = {
    "numbers": Band(0.2, 0.4),
    "line": Band(0.3, 0.3),
    "linear": Band(Linear(0.6, 0.4, 30), Linear(0.7, 0.5, 30)),
    "half": Band(0.1, FALLING),
    "shares": Band(Initial(0.5), Cosine(Initial(1.2), Initial(0.6), 30)),
    "mixed": Band(0.001, Initial(1.0)),
}
bands = pytest.mark.parametrize("band", BANDS.values(), ids=BANDS.keys())
TARGETS: list[Any] = [0.3, Initial(0.7), FALLING, Piecewise(((0, Initial()), (9, 0.2))), *BANDS.values()]
targets = pytest.mark.parametrize("target", TARGETS, ids=str)


def edges(band: Band, step: int, initial: float) -> tuple[float, float]:
    return target_at(band.low, step, initial), target_at(band.high, step, initial)


@bands
@given(step=st.integers(0, 60), measured=entropies, initial=entropies)
def test_a_band_asks_for_its_nearest_point(band: Band, step: int, measured: float, initial: float) -> None:
    seen = aim(band, step, measured, initial)
    low, high = edges(band, step, seen.initial)
    assert low <= seen.value <= high
    assert seen.error == measured - seen.value
    if low <= measured <= high:
        assert seen.error == 0
    else:
        assert abs(seen.error) == min(abs(measured - low), abs(measured - high))
    assert low <= target_at(band, step, seen.initial) <= high


@bands
@given(step=st.integers(0, 60), measured=entropies, initial=entropies)
def test_the_slope_leads_to_where_the_point_will_be(band: Band, step: int, measured: float, initial: float) -> None:
    """Outside, the next point of that edge; inside, the same place between the edges."""
    seen = aim(band, step, measured, initial)
    (low, high), (next_low, next_high) = (edges(band, step + n, seen.initial) for n in (0, 1))
    place = 0.0 if high == low else (seen.value - low) / (high - low)
    assert seen.value + seen.slope == pytest.approx(next_low + place * (next_high - next_low), abs=1e-12)


@given(first=entropies, second=entropies)
def test_the_error_of_a_band_is_continuous(first: float, second: float) -> None:
    one, other = (aim(Band(0.2, 0.4), 3, h) for h in (first, second))
    assert abs(one.error - other.error) <= abs(first - second) + 1e-12


@targets
def test_slope_is_the_difference_of_the_target(target: Any) -> None:
    for step in range(40):
        ahead = target_at(target, step + 1, 0.5) - target_at(target, step, 0.5)
        assert slope_at(target, step, 0.5) == pytest.approx(ahead, abs=1e-15)
    assert slope_at(target, 40, 0.5) == 0.0


@targets
@given(step=st.integers(0, 60), initial=st.floats(0.002, 5))
def test_a_target_stays_within_its_levels(target: Any, step: int, initial: float) -> None:
    values = [level.fraction * initial if isinstance(level, Initial) else level for level in levels(target)]
    assert min(values) - 1e-12 <= target_at(target, step, initial) <= max(values) + 1e-12
    assert is_relative(target) == any(isinstance(level, Initial) for level in levels(target))


@given(
    measured=st.lists(entropies, min_size=1, max_size=12),
    unit=st.sampled_from([0.25, 0.5, 2.0, 8.0]),
    over=st.integers(1, 5),
)
def test_shares_of_the_start_know_no_unit(measured: list[float], unit: float, over: int) -> None:
    """Every entropy times a power of two: errors, slopes and the start are times that exactly."""
    target = Band(Cosine(Initial(0.9, over), Initial(0.4, over), 6), Initial(0.9, over))
    start, scaled_start = 0.0, 0.0
    for step, value in enumerate(measured):
        seen, scaled = aim(target, step, value, start), aim(target, step, unit * value, scaled_start)
        start, scaled_start = seen.initial, scaled.initial
        assert [scaled.value, scaled.error, scaled.initial] == [unit * x for x in (seen.value, seen.error, start)]
        assert scaled.slope == pytest.approx(unit * seen.slope)


def test_the_start_is_the_mean_over_the_first_steps_and_then_stays() -> None:
    controller, state, starts, values = PI(Initial(0.5, over=4)), None, [], []
    for measured in (1.0, 0.5, 0.75, 0.25, 9.0, 0.0):
        state = controller.step(state or controller.init(), measured)
        starts.append(state.initial)
        values.append(state.target)
    assert starts == pytest.approx([1.0, 0.75, 0.75, 0.625, 0.625, 0.625])
    assert values == pytest.approx([0.5 * start for start in starts])


@pytest.mark.parametrize("action", ["lower", "raise"])
def test_feed_forward_alone_follows_a_plant_without_drift(action: Any) -> None:
    """H[t+1] = H[t] -+ g u with u = slope / g lands on the target at every step."""
    gain, target = 0.02, Piecewise(((0, 0.8), (12, 0.9), (30, 0.3)))
    controller = PI(target, kp=0.0, ki=0.0, limits=(-5, 5), feed_forward=1 / gain, action=action)
    state, entropy = controller.init(), 0.8
    for step in range(40):
        assert entropy == pytest.approx(target.at(step))
        state = controller.step(state, entropy)
        assert state.output == state.feed_forward
        entropy += gain * state.output * (1 if action == "raise" else -1)


def test_feed_forward_removes_the_lag_of_a_ramp() -> None:
    """A P controller lags a ramp by slope / (g kp); told the slope, it does not."""
    gain, slope = 0.02, -0.01

    def lag(feed_forward: float) -> float:
        controller = PI(Linear(1.0, 0.0, 100), kp=10, ki=0.0, limits=(-5, 5), feed_forward=feed_forward, action="lower")
        state, entropy = controller.init(), 1.0
        for _ in range(80):
            state = controller.step(state, entropy)
            entropy -= gain * state.output
        return state.error

    assert lag(0.0) == pytest.approx(-slope / (gain * 10), rel=1e-6)
    assert lag(1 / gain) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("read", ["after", "before"])
def test_bumpless_start_on_a_moving_target(read: Any) -> None:
    controller = PI(FALLING, 2.0, 0.1, bumpless=True, start=0.25, feed_forward=10.0, integral_read=read, action="lower")
    assert controller.step(controller.init(), 0.9).output == pytest.approx(0.25)


def test_saturation_under_feed_forward_winds_nothing_up() -> None:
    controller = PI(Piecewise(((0, 0.9), (1, 0.1))), kp=1.0, ki=0.5, feed_forward=10.0, action="lower")
    state = controller.step(controller.init(), 1.0)
    assert (state.output, state.saturated, state.feed_forward) == (1.0, 1, pytest.approx(8.0))
    assert state.integral == 0


def test_a_step_controller_rests_inside_a_band() -> None:
    controller = Step(Band(0.2, 0.4), delta=0.25, limits=(0.0, 1.0), start=0.5, gated=False, action="raise")
    state, found = controller.init(), []
    for measured in (0.3, 0.2, 0.1, 0.4, 0.5):
        state = controller.step(state, measured)
        found.append(state.output)
    assert found == [0.5, 0.5, 0.75, 0.75, 0.5]


def test_edges_that_cross_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"empty at step 21: low is 0\.4"):
        Band(0.4, Linear(0.8, 0.4 - 0.4 / 20, 22))
    with pytest.raises(ConfigError, match="empty at step 0"):
        Band(Initial(1.1), Initial(0.9))
    unknown = Band(0.3, Initial(0.5))  # a matter of the initial entropy
    with pytest.raises(ConfigError, match=r"empty at step 0: low is 0\.3 nats, high 0\.25"):
        aim(unknown, 0, 0.5)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("initial", "'initial'"),
        (Constant(-0.1), r"-0\.1 in Constant"),
        (Piecewise(((0, Initial()), (5, -1.0))), r"-1\.0 in Piecewise"),
        (Oscillating(0.5, -0.2, 10, 2), r"-0\.2"),
        (Linear(Initial(), Initial(0.5, over=3), 10), r"\[1, 3\]"),
    ],
)
def test_targets_that_no_policy_can_have_are_refused(target: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_target(target)


@pytest.mark.parametrize(
    ("fraction", "over", "message"),
    [(-0.1, 1, r"-0\.1"), (math.nan, 1, "nan"), ("1", 1, "'1'"), (1.0, 0, "over.*0"), (1.0, 1.5, r"over.*1\.5")],
)
def test_fractions_that_are_none_are_refused(fraction: Any, over: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Initial(fraction, over)


def test_a_band_of_bands_is_refused() -> None:
    with pytest.raises(ConfigError, match="low must be one edge"):
        Band(Band(0.1, 0.2), 0.3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="got -1"):
        Band(-1, 0.3)


def test_a_band_of_any_length_is_made_at_once() -> None:
    """Its edges were once compared step by step: a billion steps took an hour."""
    long = 10**9
    Band(Linear(0.6, 0.4, long), Cosine(0.7, 0.5, long))
    with pytest.raises(ConfigError, match="empty at step"):
        Band(Linear(0.2, 0.6, long), 0.5)
    with pytest.raises(ConfigError, match="empty at step 777"):
        Band(Piecewise(((0, 0.2), (777, 0.6), (778, 0.2), (long, 0.2))), 0.5)
