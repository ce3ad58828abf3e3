"""What a person sees of a run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from entrostat.cli._closing import closing_table
from entrostat.cli._progress import Panelled, Plain, clock, facts, live, views_for

ROW = {
    "entropy_control/measured": 0.2512,
    "entropy_control/target": 0.25,
    "entropy_control/output": -2.0,
    "entropy_control/saturated": -1.0,
    "reward": 0.314,
    "eval/pass@8": 0.7,
}


def test_the_facts_of_a_step() -> None:
    assert facts(ROW) == {
        "entropy": "0.251 (target 0.250) nats",
        "output": "-2.00 at its limit",
        "reward": "0.31",
        "held-out": "pass@8 0.70",
    }
    assert facts({"loss": 1.0}) == {}


def test_plain_lines_are_few() -> None:
    out = io.StringIO()
    view = Plain(Console(file=out, soft_wrap=True), 1000)
    for step in range(1001):
        view.step(step, ROW)
    lines = out.getvalue().splitlines()
    assert len(lines) <= 23 and lines[-1].startswith("step 1000/1000  entropy 0.251")


def test_a_terminal_gets_a_panel() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    (view,) = views_for(console, 10, ["flow on countdown"])
    assert isinstance(view, Panelled)
    with live(console, view):
        view.step(3, ROW)
    with console.capture() as captured:
        console.print(view)
    for part in ("flow on countdown", "3/10", "0.251 (target 0.250) nats", "at its limit"):
        assert part in captured.get()
    assert max(map(len, captured.get().splitlines())) <= 80


def test_the_closing_table_fits_a_terminal() -> None:
    summary = {
        "entropy": {
            "start": 0.26,
            "end": 0.2,
            "target_end": 0.2,
            "second_half": {"rms_error": 0.01, "mean_error": -0.001, "relative_rms_error": 0.05},
        },
        "reward": {"start": 0.1, "end": None},
        "eval": {"start": {"step": 0, "avg@8": 0.1}, "end": {"step": 9, "avg@8": 0.3}},
        "train_seconds": 71.2,
    }
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as captured:
        console.print(closing_table({"plain GRPO": {"steps": 0}, "flow": summary}))
    text = captured.get()
    for part in ("plain GRPO", "0.260 -> 0.200", "0.010 (5.0%)", "held-out avg@8", "0.10 -> 0.30", "0.10 -> -"):
        assert part in text


def closing_rows(*evals: dict[str, float]) -> str:
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as captured:
        console.print(closing_table({str(i): {"steps": 1, "eval": {"end": each}} for i, each in enumerate(evals)}))
    return captured.get()


def test_an_average_that_is_pass_at_1_is_listed_once() -> None:
    same = {"avg@8": 0.1 + 0.2, "pass@1": 0.3, "pass@8": 0.6, "t0.6/avg@8": 0.4, "t0.6/pass@1": 0.4}
    text = closing_rows(same, same)
    assert "avg@8" not in text and text.count("held-out pass@1,") == text.count("held-out t0.6/pass@1,") == 1
    partial = {"avg@8": 0.5, "pass@1": 0.3}
    assert "held-out avg@8," in closing_rows(same, partial) and "held-out avg@8," in closing_rows({"avg@8": 0.3})
    line = facts({"eval/avg@8": 0.3, "eval/pass@1": 0.3, "eval/pass@8": 0.6})["held-out"]
    assert line == "pass@1 0.30, pass@8 0.60"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (75, "1:15"), (3671, "1:01:11")])
def test_time_left(seconds: float, text: str) -> None:
    assert clock(seconds) == text
