"""What is said of a run, once each."""

from __future__ import annotations

import warnings

import pytest

from entrostat.core.watch import MISFIT, SILENT, Watch
from entrostat.types import Summary

USUAL = {"tokens": 8.0, "tokens/positive": 4.0, "tokens/negative": 4.0, "entropy": 4.0}
WITHOUT = USUAL | {"tokens/positive": 0.0, "tokens/negative": 0.0}


def judged(watch: Watch, steps: int, sums: dict[str, float], **metrics: float) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(steps):
            watch.judged(metrics, Summary(sums))
    return [str(each.message) for each in said]


def test_groups_without_spread_are_said_once() -> None:
    watch = Watch("flow")
    assert not judged(watch, SILENT - 1, WITHOUT)
    (text,) = judged(watch, 5 * SILENT, WITHOUT)
    assert "no group of completions has rewards that differ" in text


def test_a_single_advantage_starts_the_count_anew() -> None:
    watch = Watch("flow")
    for _ in range(5):
        assert not judged(watch, SILENT - 1, WITHOUT) and not judged(watch, 1, USUAL)


@pytest.mark.parametrize(("memory", "count"), [(2.0, 1), (2.5, 0), (0.0, 0)])
def test_a_model_that_does_not_fit_is_said(memory: float, count: int) -> None:
    said = judged(Watch("hold"), 3 * MISFIT, USUAL, memory=memory)
    assert len(said) == count and all("delay or momentum" in text for text in said)


@pytest.mark.parametrize(
    ("gain", "text"), [(-0.087, "the other way than its output pushes"), (0.01, "cannot be told from noise")]
)
def test_a_wrong_sign_is_not_called_noise(gain: float, text: str) -> None:
    (said,) = judged(Watch("hold"), 3, USUAL, identified=-1, gain=gain, gain_sd=0.016)
    assert text in said
