"""A target may be said in words wherever a fraction of the start is a target."""

from __future__ import annotations

import pytest

import entrostat as es


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
