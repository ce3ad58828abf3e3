"""A setting in the words of a configuration file."""

from __future__ import annotations

import pytest
import yaml

from entrostat.control import Initial
from entrostat.control.words import in_words
from entrostat.core.specification import make


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not set"),
        (True, "true"),
        (-1.0, "-1"),
        (4e-05, "4e-05"),
        (0.1234567891, "0.1234567891"),
        ((-1.0, 1.0), "[-1, 1]"),
        ((), "none"),
        ("step", "step"),
        ({"a": [None, 2]}, "a: [not set, 2]"),
        (Initial(), "initial"),
        (Initial(0.75), "0.75 * initial"),
        (Initial(0.75, over=5), "{initial: {fraction: 0.75, over: 5}}"),
    ],
)
def test_a_value_in_words(value: object, text: str) -> None:
    assert in_words(value) == text


@pytest.mark.parametrize("target", [Initial(), Initial(0.75), Initial(0.5, over=3), 0.3])
def test_a_target_in_words_is_read_back_from_a_file(target: object) -> None:
    read = yaml.safe_load(f"target: {in_words(target)}")
    assert make("hold", **read).links == make("hold", target=target).links
