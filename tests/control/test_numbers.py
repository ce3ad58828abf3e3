"""Settings as people write them: other libraries' numbers are numbers, texts are not, and what cannot be is refused by name."""

import math

import numpy as np
import pytest
import torch

from entrostat.control import PI, Band, Initial, Linear, Piecewise, SelfTuning, Step
from entrostat.control.base import from_dict, to_dict
from entrostat.control.knob import as_controller
from entrostat.control.numbers import as_kind
from entrostat.errors import ConfigError, StateError


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.tensor, lambda value: np.array(value), int, float])
def test_a_scalar_of_any_library_is_a_float(kind):
    held = PI(kind(1), kp=kind(2), ki=kind(1), limits=(kind(-1), kind(1)), start=kind(0))
    assert held == PI(1.0, 2.0, 1.0) and type(held.kp) is type(held.target) is type(held.start) is float
    assert SelfTuning(kind(1), settling=kind(30)) == SelfTuning(1.0)
    assert Step(kind(1), delta=kind(1)).delta == 1.0
    assert Linear(kind(2), kind(1), np.int64(5)) == Linear(2.0, 1.0, 5)


def test_words_for_the_initial_entropy_mean_in_python_what_they_mean_in_yaml():
    assert SelfTuning("initial").target == Initial()
    assert PI("0.75 * initial").target == Initial(0.75) == 0.75 * Initial() == Initial(1.5) * 0.5
    assert Band("0.5 * initial", "initial") == Band(Initial(0.5), Initial())
    assert Linear("initial", "0.5*initial", 9) == Linear(Initial(), Initial(0.5), 9)
    assert Piecewise(((0, "initial"), (5, 0.1))) == Piecewise(((0, Initial()), (5, 0.1)))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: PI(0.2, anti_windup="false"), "anti_windup"),
        (lambda: PI(0.2, bumpless=1), "bumpless"),
        (lambda: Step(0.2, gated="no"), "gated"),
        (lambda: PI(0.2, kp=""), "kp"),
        (lambda: PI(0.2, ki="1"), "ki"),
        (lambda: PI(0.2, limits="01"), "limits"),
        (lambda: PI(0.2, limits=("0", "1")), "limits"),
        (lambda: PI(0.2, start="0"), "start"),
        (lambda: PI("half of initial"), "fraction of it"),
        (lambda: PI("-1 * initial"), "fraction"),
        (lambda: PI("1-1 * initial"), "not a number"),
        (lambda: SelfTuning(torch.ones(2)), "target"),
        (lambda: SelfTuning(True), "target"),
        (lambda: SelfTuning(0.2, settling="30"), "settling"),
        (lambda: SelfTuning(0.2, momentum=torch.tensor(float("nan"))), "momentum"),
        (lambda: SelfTuning(0.2, delay=True), "delay"),
        (lambda: Step(0.2, delta=np.inf), "delta"),
        (lambda: Initial(over=1.5), "over"),
        (lambda: Linear(1.0, "0.5", 3), "end"),
        (lambda: Piecewise(((0.5, 1.0),)), "step"),
        (lambda: "x" * Initial(), "factor"),
        (lambda: PI(10**400), "target"),
        (lambda: PI(0.2, kp=10**400), "kp"),
        (lambda: Linear(1.0, -(10**400), 3), "end"),
        (lambda: as_controller(10**400, "raise", "clip_v.mu"), "clip_v.mu"),
    ],
)
def test_what_is_no_such_setting_is_refused_by_name(make, named):
    with pytest.raises(ConfigError, match=named):
        make()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gain_gain": -1e-9}, "gain_gain"),
        ({"noise": -1.0}, "noise"),
        ({"level_gain": 5.0}, "variances of level and gain"),
        ({"steps": -3}, "steps"),
        ({"memory": float("nan")}, "memory"),
        ({"level": "0.2"}, "level"),
    ],
)
def test_a_saved_state_that_cannot_be_right_is_refused(change, said):
    controller = SelfTuning(0.2, action="lower")
    state = controller.step(controller.step(controller.init(), 0.26), 0.25)
    assert from_dict(controller.init(), to_dict(state)) == state
    with pytest.raises(StateError, match=said):
        from_dict(controller.init(), to_dict(state) | change)


def test_a_state_of_an_earlier_version_is_refused_with_the_way_on():
    controller = SelfTuning(0.2)
    values = to_dict(controller.init())
    earlier = {name: value for name, value in values.items() if name not in ("memory", "trend")} | {"miss": 0.0}
    with pytest.raises(StateError, match=r"does not fit this version.*memory.*miss.*new run"):
        from_dict(controller.init(), earlier)


def test_a_pair_s_numbers_become_floats_infinite_ends_too():
    found = as_kind("limits", [torch.tensor(-math.inf), 2], tuple[float, float])
    assert found == (-math.inf, 2.0) and all(type(each) is float for each in found)


@pytest.mark.parametrize("wrong", [10**400, math.nan, "1", True], ids=["huge", "nan", "text", "flag"])
def test_what_is_no_number_of_a_pair_is_shown_with_an_example(wrong):
    with pytest.raises(ConfigError, match=r"^limits must be 2 numbers, such as \(0\.0, 1\.0\), got "):
        as_kind("limits", (0.0, wrong), tuple[float, float])
