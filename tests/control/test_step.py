"""The step rule against the formula of Skywork-OR1 (2505.22312)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from entrostat.control import Step
from entrostat.errors import ConfigError


def outputs(controller: Step, measured: list[float]) -> list[float]:
    state, out = controller.init(), []
    for value in measured:
        state = controller.step(state, value)
        out.append(state.output)
    return out


@pytest.mark.parametrize("seed", range(5))
def test_skywork_formula(seed: int) -> None:
    rng = random.Random(seed)
    controller = Step(0.2, delta=1e-3, limits=(0.0, 5e-3), start=2e-3, action="raise")
    state, coef = controller.init(), 2e-3
    assert state.output == coef  # enabled = 1 at the first step
    for _ in range(300):
        entropy = rng.choice([0.2, rng.uniform(0, 0.4)])
        coef += 1e-3 if entropy < 0.2 else -1e-3
        coef = min(max(coef, 0.0), 5e-3)
        enabled = int(entropy < 0.2)
        state = controller.step(state, entropy)
        assert state.level == coef
        assert state.output == coef * enabled


def test_without_the_gate_the_level_is_commanded_always() -> None:
    controller = Step(0.2, delta=0.25, limits=(0.0, 1.0), gated=False, action="raise")
    assert outputs(controller, [0.1, 0.1, 0.3, 0.2, 0.2]) == [0.25, 0.5, 0.25, 0.0, 0.0]


def test_action_lower_turns_it_around() -> None:
    controller = Step(0.2, delta=0.25, limits=(0.0, 1.0), action="lower")
    assert outputs(controller, [0.3, 0.3, 0.2, 0.1]) == [0.25, 0.5, 0.0, 0.0]


def test_a_level_of_zero_recovers() -> None:
    controller = Step(0.2, delta=0.25, limits=(0.0, 1.0), action="raise")
    assert outputs(controller, [0.9] * 5 + [0.1]) == [0.0] * 5 + [0.25]


def test_saturation_is_reported_with_its_side() -> None:
    controller = Step(0.2, delta=0.75, limits=(0.0, 1.0), action="raise")
    state, sides = controller.init(), []
    for measured in (0.1, 0.1, 0.3, 0.3):
        state = controller.step(state, measured)
        sides.append(state.saturated)
    assert sides == [0, 1, 0, -1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": 0.0}, r"delta.*0\.0"),
        ({"delta": -1e-3}, r"delta.*-0\.001"),
        ({"delta": float("nan")}, "delta.*nan"),
        ({"limits": (1.0, 0.0)}, r"limits.*1 is above 0"),
        ({"start": 1.0}, r"start.*1\.0"),
    ],
)
def test_refusals_name_the_value(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Step(0.2, **change)
