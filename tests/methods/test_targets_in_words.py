"""A target may be said in words wherever a fraction of the start is a target."""

from __future__ import annotations

import pytest

import entrostat as es
from entrostat.control import PI, Band, Cosine, Initial, Linear
from entrostat.errors import ConfigError


@pytest.mark.parametrize(
    "name",
    [
        "adapo",
        "entropic",
        "flow",
        "hold",
        "mai_clip",
        "positive_reweighting",
        "repo_r",
        "skywork",
        "stare",
        "temperature",
    ],
)
def test_a_target_in_words_is_the_fraction_that_it_names(name: str) -> None:
    method = getattr(es, name)
    assert repr(method(target="0.75 * initial")) == repr(method(target=es.Initial(0.75)))


@pytest.mark.parametrize("name", ["entropic", "flow", "hold", "skywork"])
def test_a_target_as_a_configuration_file_has_it_is_the_schedule_that_it_names(name: str) -> None:
    method = getattr(es, name)
    written = {"cosine": {"start": "initial", "end": "0.5 * initial", "steps": 9}}
    assert repr(method(target=written)) == repr(method(target=Cosine(Initial(), Initial(0.5), 9)))
    assert repr(method(target={"band": {"low": 0.2, "high": 0.4}})) == repr(method(target=Band(0.2, 0.4)))
    with pytest.raises(ConfigError, match=r"^target\.cosin: unknown \(did you mean 'cosine'\?\)"):
        method(target={"cosin": written["cosine"]})


def test_a_knob_as_a_configuration_file_has_it_is_what_it_names() -> None:
    assert es.entropy_bonus(coef={"linear": {"start": 1, "end": 0, "steps": 5}}) == es.entropy_bonus(Linear(1, 0, 5))
    written = {"pi": {"target": 0.2, "kp": 1, "ki": 0}}
    assert es.hold(controller=written) == es.hold(controller=PI(0.2, 1, 0))
    with pytest.raises(ConfigError, match=r"is the class Linear, not an object: write Linear\(\.\.\.\)"):
        es.entropy_bonus(coef=Linear)


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("75%", 'write "0.75 * initial"'),
        ("75 % of the start", 'write "0.75 * initial"'),
        ("0.75 * inital", 'write "0.75 * initial"'),
        ("0.75*Initial", 'write "0.75 * initial"'),
        ("initial * 0.75", 'write "0.75 * initial"'),
        ("0,75 * initial", 'write "0.75 * initial"'),
        ("Initial(0.75)", 'write "0.75 * initial"'),
        ("intial", 'write "initial"'),
        ("0.3", "write the number 0.3 without quotes"),
        ("0.3 nats", "write the number 0.3 without quotes"),
        ("half", "got 'half'"),
        ((0.2, 0.4), "a range is a Band(0.2, 0.4), in YAML {band: {low: 0.2, high: 0.4}}"),
        (PI(0.2, 1, 0), "give it as controller=..."),
        (None, "use the method 'observe'"),
    ],
)
def test_what_is_no_target_is_told_what_to_write(target: object, meant: str) -> None:
    with pytest.raises(ConfigError) as refused:
        es.hold(target=target)  # type: ignore[arg-type]
    assert str(refused.value).endswith(meant)
    assert "initial" in str(refused.value)  # what a target may be


def test_an_end_of_a_schedule_is_told_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"""start must be a number.*got '75%': write "0\.75 \* initial"$"""):
        Cosine("75%", 0.1, 10)  # type: ignore[arg-type]


def test_a_class_in_place_of_one_of_it_is_told() -> None:
    with pytest.raises(ConfigError, match=r"target is the class Cosine, not an object: write Cosine\(\.\.\.\)"):
        es.hold(target=Cosine)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="low is the class Linear"):
        Band(Linear, 1.0)  # type: ignore[arg-type]
