"""The effect of outputs on a batch, and a controller that knows it."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrostat.control import SelfTuning
from entrostat.control.effect import Effect, grid
from entrostat.control.response import response

falls = st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4)


def curve(drops: list[float], rising: bool = False) -> Effect:
    changes = [0.3]
    for drop in drops:
        changes.append(changes[-1] - drop)
    return Effect((-2.0, -0.5, 0.0, 0.5, 2.0), tuple(-c for c in changes) if rising else tuple(changes), changes[2])


def test_the_grid_holds_the_limits_and_zero() -> None:
    assert grid((-2.0, 2.0)) == (-2.0, -0.5, -0.125, 0.0, 0.125, 0.5, 2.0)
    assert grid((0.0, 4.0)) == (0.0, 0.25, 1.0, 4.0)
    assert grid((0.5, 1.0)) == (0.5, 1.0)
    assert all(a < b for a, b in pairwise(grid((-0.1, 3.0))))


@given(falls, st.floats(-2, 2), st.booleans())
def test_output_inverts_at(drops: list[float], output: float, rising: bool) -> None:
    effect = curve(drops, rising)
    assert effect.output(effect.at(output)) == pytest.approx(output, abs=1e-9)
    assert effect.width == pytest.approx(sum(drops))


@given(falls, st.booleans())
def test_beyond_its_range_the_nearest_output_is_taken(drops: list[float], rising: bool) -> None:
    effect = curve(drops, rising)
    at_low, at_high = (2.0, -2.0) if not rising else (-2.0, 2.0)
    assert effect.output(effect.lowest - 1) == at_low
    assert effect.output(effect.highest + 1) == at_high
    assert effect.at(-9) == effect.changes[0] and effect.at(9) == effect.changes[-1]


def test_a_curve_that_turns_back_is_passed_over_behind_the_turn() -> None:
    effect = Effect((-1.0, 0.0, 1.0, 2.0), (0.4, 0.0, -0.6, -0.5), 0.0)
    assert effect.output(-0.6) == 1.0
    assert effect.output(-0.3) == pytest.approx(0.5)
    assert effect.output(-0.9) in (1.0, 2.0)
    assert effect.output(0.2) == pytest.approx(-0.5)


def phi(output: float, drift: float) -> float:
    """An actuator that saturates, as flow control's does: steep around 0, flat at the limits."""
    return drift - 0.02 * math.tanh(5 * output)


def loop(
    target: float, known: bool, seed: int, action: str = "lower", steps: int = 75, noise: float = 1.0
) -> list[float]:
    """Entropy of a plant that moves by a factor times the lagged first-order change; the drift fades as entropy falls."""
    draw = random.Random(seed)
    controller = SelfTuning(target, settling=25, action=action)  # type: ignore[arg-type]
    sign = 1 if action == "lower" else -1
    state, entropy, lagged, factor, values = controller.init(), 0.26, 0.0, 0.35, []
    for step in range(1, steps + 1):
        values.append(measured := entropy + noise * draw.gauss(0, 0.002))
        drift = -0.003 * entropy / 0.26
        acting = phi(sign * state.output, drift)
        outputs = grid(controller.limits)
        effect = Effect(outputs, tuple(phi(sign * u, drift) for u in outputs), acting)
        state = controller.step(state, measured, effect) if known else controller.step(state, measured)
        felt = 1 - (1 - 0.86) / (1 - 0.86**step)
        lagged = felt * lagged + (1 - felt) * acting
        entropy += factor * lagged + noise * draw.gauss(0, 0.0005)
    return values


@pytest.mark.parametrize("share", [0.5, 0.75, 1.25])
@pytest.mark.parametrize("action", ["lower", "raise"])
def test_a_saturating_actuator_is_held_better_when_its_effect_is_known(share: float, action: str) -> None:
    target, seeds = share * 0.26, range(12)

    def settled(known: bool) -> list[float]:
        told = [response(loop(target, known, seed, action), target, window=9, least=0.03 * target) for seed in seeds]
        return sorted(75.0 if each.settling is None else each.settling for each in told)

    with_it, without = settled(True), settled(False)
    assert with_it[len(seeds) // 2] <= 1.5 * 25
    assert sum(with_it) < sum(without)


@pytest.mark.parametrize("share", [0.75, 1.0, 1.2])
def test_a_straight_line_between_outputs_leaves_no_offset(share: float) -> None:
    """The output that holds lies where the curve bends: what its points miss there, the entropy stands beside its target."""
    held = loop(share * 0.26, known=True, seed=0, steps=120, noise=0.0)[90:]
    assert abs(sum(held) / len(held) / (share * 0.26) - 1) < 0.01


def test_where_nothing_can_be_moved_the_output_stays() -> None:
    controller = SelfTuning(0.2, settling=25)
    state = controller.init()
    outputs = grid(controller.limits)
    for _ in range(8):
        state = controller.step(state, 0.25, Effect(outputs, tuple(-0.01 * u - 0.001 for u in outputs), -0.001))
    flat = controller.step(state, 0.25, Effect(outputs, (0.0,) * len(outputs), 0.0))
    assert flat.output == state.output and flat.effort == 0 and flat.saturated == 0


@pytest.mark.parametrize("share", [0.75, 1.0])
def test_an_output_that_moves_next_to_nothing_is_called_out_of_reach(share: float) -> None:
    """Its sign on a batch is chance, so it goes from one limit to the other; the entropy falls as it would anyway."""
    draw = random.Random(0)
    controller = SelfTuning(share * 0.26, settling=25)
    state, entropy, told = controller.init(), 0.26, None
    outputs = grid(controller.limits)
    for step in range(60):
        slope = 1e-5 * draw.gauss(0, 1)
        effect = Effect(outputs, tuple(-0.006 - slope * u for u in outputs), -0.006)
        state = controller.step(state, entropy + draw.gauss(0, 0.002), effect)
        entropy -= 0.002
        told = step if told is None and not state.reachable else told
    assert told is not None
    passed = 0 if share == 1.0 else (1 - share) * 0.26 / 0.002  # three quarters lie on its way
    assert passed < told <= passed + 20
