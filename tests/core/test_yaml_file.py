"""YAML as plain values: bounded, without interpolation, read back as it was written."""

from __future__ import annotations

import math
import time

import pytest

from entrostat.core.yaml_file import dump, parse
from entrostat.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1", 1), ("010", 10), ("1_000", 1000), ("-.inf", -math.inf), (".5", 0.5), ("12:30:45", "12:30:45"),
        ("yes", "yes"), ("off", "off"), ("2026-01-01", "2026-01-01"), ("true", True), ("~", None), ("", None), ("'1'", "1"),
        ("[1, {a: b}]", [1, {"a": "b"}]), ("{a: &x [1], b: *x}", {"a": [1], "b": [1]}),
    ],
)  # fmt: skip
def test_scalars_mean_what_they_look_like_and_read_back(text: str, value: object) -> None:
    assert parse(text, "x") == value and type(parse(text, "x")) is type(value)
    assert parse(dump(value), "x") == value


def test_text_that_looks_like_something_else_is_quoted() -> None:
    texts = [
        "1e-3",
        "true",
        "~",
        "",
        "010",
        "null",
        "a: b",
        "\x1b[31m",
        "- x",
        "=",
        "<<",
        "1e400",
        "# x",
        "é",
        "\u202e",
        "[1]",
    ]
    assert parse(dump(texts), "x") == texts
    assert "\x1b" not in dump(texts)


LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40))]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: ${oc.env:HOME}", r"^a: '\$\{oc\.env:HOME\}' is an interpolation"),
        ("a: [{b: 'x ${steps}'}]", r"^a\.0\.b: '\$\{steps\}'"),
        (LAUGHS, r"holds [0-9,]+ values, with those that its aliases repeat"),
        ("a: &a [*a]", "not valid YAML|contains itself"),
        ("[" * 5000, "nested too deeply"),
        ("[" * 200 + "]" * 200, "nested too deeply"),
        ("a: 1\na: 2", "key 'a' is given twice"),
        ("1: 2", "the key 1 .* is not text"),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("a: !!set {b}", "a set has no place"),
        ("a: !!binary aGk=", "a bytes has no place"),
        ("9" * 6000, "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("x" * 1_000_001, "more than 1,000,000"),
    ],
)
def test_what_is_not_plain_is_refused_in_little_time(text: str, message: str) -> None:
    started = time.process_time()
    with pytest.raises(ConfigError, match=message):
        parse(text, "run.yaml")
    assert time.process_time() - started < 5


def test_a_file_of_many_keys_is_read_in_time() -> None:
    text = "".join(f"k{i}: 1\n" for i in range(20_000))
    began = time.process_time()
    assert len(parse(text[: text.rindex("k19999")], "x")) == 19_999
    linear = time.process_time() - began
    began = time.process_time()
    parse(text[: text.index("k5000:")], "x")
    assert linear < 12 * (time.process_time() - began)  # four times as many keys: 16 times were it quadratic
    with pytest.raises(ConfigError, match="the key 'k7' is given twice"):
        parse(text + "k7: 2\n", "x")
