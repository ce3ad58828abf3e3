"""Methods from plain values."""

from __future__ import annotations

import pytest

from entrostat.control import PI, Linear, Piecewise, Step
from entrostat.errors import ConfigError
from entrostat.methods import clip_higher, entropy_bonus, fingerprint, flow, names
from entrostat.run.method import build_method, names_initial, with_default_target, with_initial


def test_schedules_and_controllers_are_written_as_mappings() -> None:
    built = build_method("flow", {"target": {"linear": {"start": 0.6, "end": 0.3, "steps": 100}}, "limits": [-1, 1]})
    assert fingerprint(built) == fingerprint(flow(Linear(0.6, 0.3, 100), limits=(-1, 1)))
    target = {"piecewise": {"points": [[0, 0.3], [9, 0.2]]}}
    built = build_method("clip_higher", {"eps_high": {"pi": {"target": target, "limits": [0, 1]}}})
    assert fingerprint(built) == fingerprint(clip_higher(PI(Piecewise(((0, 0.3), (9, 0.2))), limits=(0, 1))))
    built = build_method("entropy_bonus", {"coef": {"step": {"target": 0.2}}})
    assert fingerprint(built) == fingerprint(entropy_bonus(Step(0.2)))


@pytest.mark.parametrize("name", names())
def test_every_method_can_be_built_from_its_name_alone(name: str) -> None:
    options = with_initial(with_default_target(name, {}), 0.25)
    assert build_method(name, options).name == name


def test_initial_stands_for_the_entropy_of_the_start() -> None:
    options = with_default_target("flow", {"kp": 3})
    assert options == {"target": "initial", "kp": 3}
    nested = {"coef": {"step": {"target": "initial"}}}
    assert names_initial(options) and names_initial(nested) and not names_initial({"target": 0.3})
    assert with_initial(nested, 0.25) == {"coef": {"step": {"target": 0.25}}}
    assert with_default_target("observe", {}) == {}
    assert with_default_target("skywork", {}) == {}  # has a default of its own
    with pytest.raises(ConfigError, match=r"method\.target"):
        build_method("flow", {"target": "initial"})  # never guessed at


def test_a_controller_brings_its_own_target() -> None:
    options = {"controller": {"pi": {"target": 0.2, "kp": 5, "ki": 0.2}}}
    built = build_method("flow", with_default_target("flow", options))
    assert built.targets == [0.2]


def test_action_belongs_to_the_method() -> None:
    with pytest.raises(ConfigError, match=r"method\.controller\.pi\.action: unknown key"):
        build_method("flow", {"target": 1, "controller": {"pi": {"target": 0.2, "action": "raise"}}})
