"""The PI rule, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrostat.control import PI, P, PIState
from entrostat.errors import ConfigError


def outputs(controller: PI, measured: list[float]) -> list[float]:
    return [state.output for state in states(controller, measured)]


def states(controller: PI, measured: list[float]) -> list[PIState]:
    state, out = controller.init(), []
    for value in measured:
        state = controller.step(state, value)
        out.append(state)
    return out


# Errors of 0.25, 0.5 and -0.125 are exact in binary, so the arithmetic below is exact too.
MEASURED = [0.75, 1.0, 0.375]
WIDE = (-10.0, 10.0)


def test_integral_read_after_by_hand() -> None:
    controller = PI(0.5, kp=2.0, ki=0.5, limits=WIDE)
    assert outputs(controller, MEASURED) == [2 * 0.25 + 0.5 * 0.25, 2 * 0.5 + 0.5 * 0.75, 2 * -0.125 + 0.5 * 0.625]


def test_integral_read_before_by_hand() -> None:
    controller = PI(0.5, kp=2.0, ki=0.5, limits=WIDE, integral_read="before")
    assert outputs(controller, MEASURED) == [2 * 0.25, 2 * 0.5 + 0.5 * 0.25, 2 * -0.125 + 0.5 * 0.75]


def test_reading_before_is_reading_after_with_kp_less_ki() -> None:
    before = PI(0.5, kp=2.5, ki=0.5, limits=WIDE, integral_read="before")
    assert outputs(before, MEASURED) == outputs(PI(0.5, kp=2.0, ki=0.5, limits=WIDE), MEASURED)


def test_entropic_release_by_hand() -> None:
    """2511.15248: alpha = clip(Kp err + Ki I, -1, 1), then I += err."""
    controller, integral = PI(0.1, integral_read="before", anti_windup=False), 0.0
    measured = [0.3, 0.25, 1.9, 2.5, 0.05, 0.0]
    for value, state in zip(measured, states(controller, measured), strict=True):
        error = value - 0.1
        assert state.output == min(max(1.0 * error + 0.01 * integral, -1), 1)
        integral += error
        assert state.integral == integral


def test_components_are_kept_and_add_up() -> None:
    for state in states(PI(0.5, kp=2.0, ki=0.5, limits=WIDE), MEASURED):
        assert state.proportional == 2 * state.error
        assert state.integral_part == 0.5 * state.integral
        assert state.output == state.proportional + state.integral_part
        assert state.saturated == 0


def test_action_raise_turns_the_output_around() -> None:
    lower = PI(0.5, kp=2.0, ki=0.5, limits=WIDE, action="lower")
    higher = PI(0.5, kp=2.0, ki=0.5, limits=WIDE, action="raise")
    assert outputs(higher, MEASURED) == [-output for output in outputs(lower, MEASURED)]
    assert outputs(PI(0.5, kp=2.0, ki=0.5, limits=WIDE), MEASURED) == outputs(lower, MEASURED)
    assert [s.error for s in states(higher, MEASURED)] == [s.error for s in states(lower, MEASURED)]


def test_saturation_is_reported_with_its_side() -> None:
    controller = PI(1.0, kp=10.0, ki=0.1)
    assert [state.saturated for state in states(controller, [2.0, 1.0, 0.0])] == [1, 0, -1]


def test_windup_and_its_absence() -> None:
    high = [2.0] * 50  # error 1.0, far past the limit of 1
    wound = PI(1.0, kp=1.5, ki=0.1, anti_windup=False)
    held = PI(1.0, kp=1.5, ki=0.1)
    assert states(wound, high)[-1].integral == pytest.approx(50)
    assert states(held, high)[-1].integral == 0
    # Back below the target: the one that held turns at once, the other stays at its limit for a long time.
    assert outputs(held, [*high, 0.9])[-1] < 0
    assert outputs(wound, [*high, 0.9])[-1] == 1
    below = [0.9] * 200
    assert sum(output > 0 for output in outputs(wound, [*high, *below])[50:]) > 100


def test_anti_windup_integrates_to_the_limit_and_back_at_once() -> None:
    controller = PI(1.0, kp=0.0, ki=1.0)
    path = states(controller, [1.625, 1.625, 1.625, 0.5])
    assert [state.output for state in path] == [0.625, 1.0, 1.0, 0.5]
    assert [state.saturated for state in path] == [0, 1, 1, 0]


@pytest.mark.parametrize("read", ["after", "before"])
@pytest.mark.parametrize("side", [1, -1])
def test_the_whole_range_is_used_under_a_lasting_error(read: Any, side: int) -> None:
    """Whatever the gains, an error that does not go away must end with the output at its limit, and say so."""
    for kp, ki in ((0.0, 0.3), (1.0, 0.7), (2.0, 0.01)):
        last = states(PI(1.0, kp=kp, ki=ki, integral_read=read), [1.0 + 0.4 * side] * 500)[-1]
        assert (last.output, last.saturated) == (pytest.approx(side), side)
        assert abs(last.integral) <= 1 / ki + 0.4


def test_anti_windup_changes_nothing_within_the_limits() -> None:
    for read in ("after", "before"):
        on, off = (PI(0.5, 2.0, 0.5, WIDE, anti_windup=flag, integral_read=read) for flag in (True, False))  # type: ignore[arg-type]
        assert states(on, MEASURED) == states(off, MEASURED)


@pytest.mark.parametrize("read", ["after", "before"])
@pytest.mark.parametrize("action", ["lower", "raise"])
@given(first=st.floats(0, 5), start=st.floats(-1, 1) | st.sampled_from([-1.0, 0.0, 1.0]))
def test_bumpless_start(read: Any, action: Any, first: float, start: float) -> None:
    controller = PI(0.5, kp=2.0, ki=0.1, bumpless=True, start=start, integral_read=read, action=action)
    one, two = states(controller, [first, first])
    assert controller.init().output == start
    assert one.output == pytest.approx(start, abs=1e-12)
    # From there on it integrates as ever: the same error again moves the output by ki times it.
    effort = (first - 0.5) * (1 if action == "lower" else -1)
    assert two.output == pytest.approx(min(max(start + 0.1 * effort, -1), 1), abs=0.1 * abs(effort) + 1e-12)


def test_start_loads_the_integral() -> None:
    controller = PI(0.5, kp=2.0, ki=0.5, limits=WIDE, start=3.0)
    assert controller.init().output == 3.0
    assert outputs(controller, [0.5, 0.5]) == [3.0, 3.0]  # no error: stay where the run was


def test_proportional_alone_keeps_no_memory() -> None:
    controller = P(0.5, kp=2.0, limits=WIDE)
    assert outputs(controller, MEASURED) == [0.5, 1.0, -0.25]
    assert outputs(controller, [9.0, 9.0, *MEASURED])[2:] == [0.5, 1.0, -0.25]
    assert all(state.integral_part == 0 for state in states(controller, MEASURED))


@given(measured=st.lists(st.floats(0, 12), min_size=1, max_size=30), anti_windup=st.booleans())
def test_output_is_the_clipped_sum_of_its_parts(measured: list[float], anti_windup: bool) -> None:
    for state in states(PI(0.4, 3.0, 0.3, anti_windup=anti_windup), measured):
        assert state.output == min(max(state.proportional + state.integral_part, -1.0), 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kp": -1.0}, r"kp.*-1\.0"),
        ({"ki": math.nan}, "ki.*nan"),
        ({"kp": "1"}, "kp.*'1'"),
        ({"ki": True}, "ki.*True"),
        ({"limits": (1.0, -1.0)}, r"limits.*1 is above -1"),
        ({"limits": (0.0, math.nan)}, "limits.*nan"),
        ({"limits": (0.0, 1.0, 2.0)}, "limits.*2"),
        ({"integral_read": "during"}, "integral_read.*'during'"),
        ({"start": 1.5}, r"start.*1\.5"),
        ({"bumpless": True, "ki": 0.0}, "bumpless.*ki=0"),
    ],
)
def test_refusals_name_the_value(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PI(0.5, **change)
