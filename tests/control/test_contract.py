"""What every controller must do, whatever its rule."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import subprocess
import sys
from statistics import fmean
from typing import Any

import pytest

from entrostat import control
from entrostat.control import PI, Band, Cosine, Initial, Linear, P, Piecewise, SelfTuning, Step
from entrostat.control.base import Controller, bind, from_dict, to_dict
from entrostat.control.knob import OpenLoop, as_controller, is_feedback
from entrostat.control.targets import aim, levels
from entrostat.errors import ConfigError, DataError, StateError

FALLING = Linear(0.6, 0.2, 20)
FALLING_TO_EDGE = Linear(0.6, 0.25, 20)
CONTROLLERS: dict[str, Any] = {
    "p": P(0.3, kp=2.0),
    "p_raise": P(0.3, kp=2.0, limits=(0.0, 0.5), action="raise"),
    "pi": PI(0.3),
    "pi_strong": PI(0.3, kp=3.0, ki=0.5),
    "pi_before": PI(0.3, kp=3.0, ki=0.5, integral_read="before", anti_windup=False),
    "pi_bumpless": PI(0.3, kp=3.0, ki=0.5, bumpless=True, start=0.25),
    "pi_bumpless_before": PI(0.3, kp=3.0, ki=0.5, integral_read="before", bumpless=True, start=-0.25),
    "pi_start": PI(0.3, kp=3.0, ki=0.5, start=0.4, limits=(0.0, 0.5), action="raise"),
    "pi_schedule": PI(FALLING, kp=3.0, ki=0.1),
    "pi_integral_alone": PI(0.3, kp=0.0, ki=0.2),
    "pi_held": PI(0.3, limits=(0.5, 0.5), start=0.5),
    "pi_fed": PI(FALLING, kp=3.0, ki=0.1, feed_forward=8.0),
    "pi_initial": PI(Initial(), kp=3.0, ki=0.5),
    "pi_share_over_steps": PI(Cosine(Initial(over=4), Initial(0.5, over=4), 20), kp=3.0, ki=0.5, feed_forward=8.0),
    "pi_band": PI(Band(0.25, 0.4), kp=3.0, ki=0.5, action="raise"),
    "pi_band_moving": PI(Band(Linear(0.3, 0.1, 20), Initial(2.0)), kp=3.0, ki=0.5, feed_forward=8.0),
    "step": Step(0.3, delta=1e-3, action="raise"),
    "step_always": Step(FALLING, delta=1e-3, limits=(-1e-2, 1e-2), gated=False, action="lower"),
    "step_initial": Step(Initial(0.9), delta=1e-3, action="raise"),
    "step_band": Step(Band(0.25, FALLING_TO_EDGE), delta=1e-3, gated=False, action="raise"),
    "self_tuning": SelfTuning(0.3, action="lower"),
    "self_tuning_raise": SelfTuning(Initial(0.8), limits=(0.0, 1.0), delay=0, momentum=0.0, action="raise"),
    "self_tuning_band": SelfTuning(Band(0.25, FALLING_TO_EDGE), settling=12, rate=0.3, deadband=0.0),
    "open_number": OpenLoop(0.01),
    "open_schedule": OpenLoop(FALLING),
}
FEEDBACK = {name: c for name, c in CONTROLLERS.items() if is_feedback(c)}
MEASURED = [0.31, 0.9, 2.5, 0.3, 0.05, 0.0, 0.0, 0.0, 11.9, 0.1 + 0.2, 1 / 3] * 3

every = pytest.mark.parametrize("controller", CONTROLLERS.values(), ids=CONTROLLERS.keys())
feedback = pytest.mark.parametrize("controller", FEEDBACK.values(), ids=FEEDBACK.keys())


def run(controller: Any, state: Any = None, measured: list[float] = MEASURED) -> list[Any]:
    states = [controller.init() if state is None else state]
    for value in measured:
        states.append(controller.step(states[-1], value))
    return states


def test_every_public_controller_is_covered() -> None:
    public = {getattr(control, name) for name in control.__all__}
    kinds = {
        c for c in public if inspect.isclass(c) and c is not Controller and hasattr(c, "init") and hasattr(c, "step")
    }
    assert kinds <= {type(c) for c in CONTROLLERS.values()}


@every
def test_is_a_controller(controller: Any) -> None:
    assert isinstance(controller, Controller)
    low, high = controller.limits
    assert low <= high


@every
def test_pure_and_deterministic(controller: Any) -> None:
    first = run(controller)
    kept = [to_dict(state) for state in first]
    assert run(controller) == first
    assert [to_dict(state) for state in first] == kept  # stepping on did not touch the earlier records
    for record in (controller, first[-1]):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, dataclasses.fields(record)[0].name, 0)


@every
def test_state_round_trips_through_json_exactly(controller: Any) -> None:
    for state in run(controller):
        back = from_dict(controller.init(), json.loads(json.dumps(to_dict(state))))
        assert back == state and type(back) is type(state)
        assert [type(v) for v in to_dict(back).values()] == [type(v) for v in to_dict(state).values()]


@every
def test_resume_is_the_same_run(controller: Any) -> None:
    whole = run(controller)
    saved = json.dumps(to_dict(whole[10]))
    resumed = run(controller, from_dict(controller.init(), json.loads(saved)), MEASURED[10:])
    assert resumed == whole[10:]


@every
def test_output_stays_finite_and_within_limits(controller: Any) -> None:
    low, high = controller.limits
    for state in run(controller):
        assert math.isfinite(state.output)
        # A gate that is shut commands 0, whatever the level's limits are.
        assert low <= state.output <= high or (isinstance(controller, Step) and controller.gated and state.output == 0)


@every
def test_steps_count_measurements(controller: Any) -> None:
    assert [state.steps for state in run(controller)] == list(range(len(MEASURED) + 1))


@feedback
@pytest.mark.parametrize("measured", [math.nan, math.inf, -math.inf])
def test_non_finite_measurement_is_refused_and_nothing_moves(controller: Any, measured: float) -> None:
    state = run(controller)[5]
    before = to_dict(state)
    with pytest.raises(DataError, match=str(measured)):
        controller.step(state, measured)
    assert to_dict(state) == before
    assert controller.step(state, 0.4) == controller.step(run(controller)[5], 0.4)


@feedback
@pytest.mark.parametrize("target", [-0.1, math.nan, math.inf, None, True, "0.3", Linear(-0.2, 0.5, 3)])
def test_target_that_no_policy_has_is_refused(controller: Any, target: Any) -> None:
    with pytest.raises(ConfigError, match="target entropy must be"):
        dataclasses.replace(controller, target=target)


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """A schedule that tells neither its levels nor where it ends, as a user may write one."""

    def at(self, step: int) -> float:
        return 0.2 - 0.1 * step


@feedback
def test_target_schedule_that_leads_below_zero_is_refused_at_once_or_there(controller: Any) -> None:
    with pytest.raises(ConfigError, match=r"target entropy must be .* got -0\.2 in Linear"):
        dataclasses.replace(controller, target=Linear(0.2, -0.2, 4))
    unknown = dataclasses.replace(controller, target=Elsewhere())
    state = run(unknown, measured=[0.3])[-1]
    with pytest.raises(ConfigError, match=r"-0\.1.* at step 3"):
        run(unknown, state, [0.3, 0.3, 0.3])


@feedback
def test_last_step_is_recorded(controller: Any) -> None:
    initial = 0.0
    over = max((level.over for level in levels(controller.target) if isinstance(level, Initial)), default=1)
    for count, state in enumerate(run(controller)[1:]):
        goal = aim(controller.target, count, MEASURED[count], initial)
        initial = goal.initial
        assert state.initial == initial == pytest.approx(fmean(MEASURED[: min(count + 1, over)]))
        assert state.measured == MEASURED[count]
        assert state.target == goal.value
        assert state.error == MEASURED[count] - state.target
        assert state.saturated in (-1, 0, 1)


@feedback
def test_a_target_relative_to_the_start_is_that_number(controller: Any) -> None:
    """Whoever measures the start, 0.31 here, the controller does the same."""
    for fraction in (1.0, 0.75):
        own = run(dataclasses.replace(controller, target=Initial(fraction)))
        assert own == run(dataclasses.replace(controller, target=fraction * MEASURED[0]))
        falling = run(dataclasses.replace(controller, target=Linear(Initial(), Initial(fraction), 7)))
        number = Linear(MEASURED[0], fraction * MEASURED[0], 7)
        assert falling == run(dataclasses.replace(controller, target=number))


@every
@pytest.mark.parametrize("damage", ["missing", "unknown", "text", "none", "flag", "nan", "fraction"])
def test_damaged_state_is_refused(controller: Any, damage: str) -> None:
    values = to_dict(run(controller)[3])
    if damage == "missing":
        del values["output"]
    elif damage == "unknown":
        values["momentum"] = 0.0
    elif damage == "fraction":
        values["steps"] = 1.5
    else:
        values["output"] = {"text": "0.1", "none": None, "flag": True, "nan": math.nan}[damage]
    with pytest.raises(
        StateError, match={"missing": "output", "unknown": "momentum", "fraction": "steps"}.get(damage, "output")
    ):
        from_dict(controller.init(), values)


@every
def test_state_of_another_controller_is_refused(controller: Any) -> None:
    for other in CONTROLLERS.values():
        if type(other) is not type(controller):
            with pytest.raises(StateError, match=type(controller.init()).__name__):
                from_dict(controller.init(), to_dict(other.init()))


# ---- knobs and actuators


@feedback
def test_the_actuator_sets_the_action(controller: Any) -> None:
    unset = dataclasses.replace(controller, action=None)
    assert bind(unset, "raise", "coef").action == "raise"
    assert as_controller(unset, "lower", "coef") == dataclasses.replace(controller, action="lower")
    with pytest.raises(ConfigError, match=r"coef raises.*'lower'"):
        bind(dataclasses.replace(controller, action="lower"), "raise", "coef")


def test_numbers_and_schedules_are_open_loop_knobs() -> None:
    number, schedule = as_controller(0.5, "raise", "coef"), as_controller(FALLING, "raise", "coef")
    assert not is_feedback(number) and not is_feedback(schedule)
    assert {state.output for state in run(number)} == {0.5}
    assert [state.output for state in run(schedule)][:3] == [FALLING.at(0), FALLING.at(1), FALLING.at(2)]
    assert as_controller(number, "raise", "coef") is number


def test_only_a_target_can_be_relative_to_the_initial_entropy() -> None:
    for schedule in (Linear(Initial(), 0.1, 5), Piecewise(((0, 0.1), (4, Initial(0.5))))):
        with pytest.raises(ConfigError, match=r"coef.*initial entropy"):
            as_controller(schedule, "raise", "coef")


@pytest.mark.parametrize("knob", ["0.5", None, True, math.nan, math.inf, object()])
def test_anything_else_is_no_knob(knob: Any) -> None:
    with pytest.raises(ConfigError, match=r"coef must be"):
        as_controller(knob, "raise", "coef")


def test_only_the_standard_library_is_imported() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "import entrostat.control, entrostat.control.knob, entrostat.control.base\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names) - {'entrostat', 'lazy_loader'}))\n"
        "print(sorted(n for n in sys.modules if n.startswith('entrostat.') and not n.startswith('entrostat.control')))\n"
    )
    lines = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert lines[0] == "[]"
    assert lines[1] == "['entrostat.errors']"


def test_schedule_jumps_are_followed() -> None:
    controller = PI(Piecewise(((0, 0.5), (4, 0.5), (5, 0.2))), kp=1.0, ki=0.0)
    assert [state.target for state in run(controller, measured=[0.5] * 7)[1:]] == [0.5] * 5 + [0.2] * 2


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ((0.0, 0.0), r"both are 0, so the output could not move\. Give a lower and a higher number, as \(-1, 1\)"),
        ((-math.inf, 1.0), r"limits must be finite, but the lower one is -inf: .* Give two numbers"),
        ((-1.0, math.inf), r"the upper one is inf"),
        ((1.0, -1.0), r"1 is above -1\. Write \(-1, 1\)"),
        ((math.nan, 1.0), r"limits must be two numbers, .* as \(-1, 1\), got \(nan, 1\.0\)"),
        ("(-1, 1)", r"limits must be two numbers"),
        ((0.1, 0.2), r"start must lie within limits \(0\.1, 0\.2\), got 0\.0: it is the output before the first"),
    ],
)
def test_limits_that_are_none_are_told_which_value_and_what_to_write(limits: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SelfTuning(0.3, limits=limits)
