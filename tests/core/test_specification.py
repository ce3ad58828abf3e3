"""Methods from plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from methods.cases import needed

from entrostat.control import PI, Band, Cosine, Initial, Linear, Piecewise, Step, oscillating_decay
from entrostat.core.specification import build_method
from entrostat.errors import ConfigError
from entrostat.methods import Chain, clip_higher, entropy_bonus, fingerprint, flow, names, source
from entrostat.run.config import load_config


def test_schedules_and_controllers_are_written_as_mappings() -> None:
    built = build_method("flow", {"target": {"linear": {"start": 0.6, "end": 0.3, "steps": 100}}, "limits": [-1, 1]})
    assert fingerprint(built) == fingerprint(flow(Linear(0.6, 0.3, 100), limits=(-1, 1)))
    target = {"piecewise": {"points": [[0, 0.3], [9, 0.2]]}}
    built = build_method("clip_higher", {"eps_high": {"pi": {"target": target, "limits": [0, 1]}}})
    assert fingerprint(built) == fingerprint(clip_higher(PI(Piecewise(((0, 0.3), (9, 0.2))), limits=(0, 1))))
    built = build_method("entropy_bonus", {"coef": {"step": {"target": 0.2}}})
    assert fingerprint(built) == fingerprint(entropy_bonus(Step(0.2)))


@pytest.mark.parametrize("name", names())
def test_every_method_can_be_built_from_its_name_and_what_it_insists_on(name: str) -> None:
    built = build_method(name, needed(name))
    assert isinstance(built, Chain)
    assert (built.name, built.source) == (name, source(name))


@pytest.mark.parametrize("name", ["flow", "entropic", "temperature"])
def test_what_the_policy_starts_with_is_the_target_where_none_is_given(name: str) -> None:
    assert build_method(name, {}).targets == [Initial()]


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("hold", {"target": 0.3, "controller": PI(0.2)}, r"target=0\.3 has no effect beside controller"),
        ("hold", {"limits": [-1, 1], "controller": 0.1}, r"limits=\(-1\.0, 1\.0\) has no effect beside controller"),
        (
            "flow",
            {"settling": 50, "ki": 1.0, "controller": PI(0.3)},
            r"settling=50\.0, ki=1\.0 has no effect beside controller",
        ),
        (
            "entropic",
            {"integral_read": "after", "controller": PI(0.3)},
            r"integral_read=after has no effect beside controller",
        ),
        ("temperature", {"settling": 9, "controller": 0.1}, r"settling=9\.0 has no effect beside controller"),
        ("positive_reweighting", {"rate": 0.05, "weight": 0.5}, r"rate=0\.05 has no effect beside weight"),
        ("repo_r", {"smallest": 0.1, "zeta": 0.5}, r"smallest=0\.1 has no effect beside zeta"),
        ("entrocraft", {"steps": 9, "band": Band(0.1, 0.5)}, r"steps=9 has no effect beside band"),
    ],
)
def test_settings_that_another_takes_the_place_of_are_refused_beside_it(
    name: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        build_method(name, options)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("initial", Initial()),
        ("0.75 * initial", Initial(0.75)),
        ("1e-1*initial", Initial(0.1)),
        ({"initial": {"fraction": 0.75, "over": 4}}, Initial(0.75, 4)),
        (
            {"cosine": {"start": "initial", "end": "0.5 * initial", "steps": 20}},
            Cosine(Initial(), Initial(0.5), 20),
        ),
        ({"piecewise": {"points": [[0, "initial"], [9, 0.2]]}}, Piecewise(((0, Initial()), (9, 0.2)))),
        (
            {
                "band": {
                    "low": "0.9 * initial",
                    "high": {"linear": {"start": "1.5 * initial", "end": "initial", "steps": 9}},
                }
            },
            Band(Initial(0.9), Linear(Initial(1.5), Initial(), 9)),
        ),
        ({"oscillating_decay": {"steps": 90, "descents": 3}}, oscillating_decay(90, 3)),
    ],
    ids=str,
)
def test_levels_relative_to_the_start(written: object, meant: object) -> None:
    assert build_method("flow", {"target": written}).targets == [meant]
    assert build_method("entropy_bonus", {"coef": {"step": {"target": written}}}).targets == [meant]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("75% of initial", r"method\.target: write 'initial'.*75% of initial"),
        ("initial * 2", r"method\.target: write 'initial'"),
        ("-1 * initial", r"method\.target\.fraction: .*-1\.0"),
        ("1-2 * initial", r"method\.target: '1-2'.* not a number"),
        ("half", r"method\.target: target entropy must be .*'half'"),
        ({"cosine": {"start": "initial", "steps": 9}}, r"method\.target\.cosine\.end: is needed"),
        ({"oscillating_decay": {"steps": 90, "descent": 3}}, r"oscillating_decay\.descent: unknown key \(did you mean"),
    ],
)
def test_levels_that_mean_nothing_are_refused_by_their_key(written: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_method("flow", {"target": written})


EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_methods_of_the_examples_can_be_built(path: Path) -> None:
    method = load_config(path).method
    assert build_method(method.name, method.options).links


def test_the_other_targets_of_the_example_can_be_chosen() -> None:
    written = [
        line.split("target:")[1] for line in (EXAMPLES / "schedule.yaml").read_text().split("\n") if "# target:" in line
    ]
    built = [build_method("flow", {"target": yaml.safe_load(each)}).targets[0] for each in written]
    assert len(set(built)) == len(written) >= 7


def test_only_a_target_is_relative() -> None:
    with pytest.raises(ConfigError, match=r"method.coef: entropy_bonus\.coef must not name the initial entropy"):
        build_method("entropy_bonus", {"coef": {"linear": {"start": "initial", "end": 0.0, "steps": 5}}})
    with pytest.raises(ConfigError, match=r"method\.kp"):
        build_method("flow", {"target": 0.2, "kp": "initial"})


def test_a_controller_brings_its_own_target() -> None:
    options = {"controller": {"pi": {"target": 0.2, "kp": 5, "ki": 0.2}}}
    built = build_method("flow", options)
    assert built.targets == [0.2]


def test_action_belongs_to_the_method() -> None:
    with pytest.raises(ConfigError, match=r"method\.controller\.pi\.action: unknown key"):
        build_method("flow", {"controller": {"pi": {"target": 0.2, "action": "raise"}}})
