"""Runs with several problems in a prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
from run.small_run import THIRD_PARTY, Told, go_on, run

from entrostat.errors import ConfigError
from entrostat.run.config import load_config
from entrostat.run.record import Run
from entrostat.run.resolve import resolve
from entrostat.run.trainer import _reward
from entrostat.tasks.base import Problem, Scored

pytestmark = [pytest.mark.filterwarnings(each) for each in THIRD_PARTY]
TWO = "task={name: countdown, problems_per_prompt: 2}"


def test_a_run_says_what_tiny_cannot_and_goes_on_with_the_same_number_only(tmp_path: Path) -> None:
    told = Told()
    run(tmp_path / "run", TWO, "steps=2", "method=observe", "trainer.save_steps=1", progress=told)
    assert any("answers the first alone" in note for note in told.notes)
    with pytest.raises(ConfigError, match=r"task.problems_per_prompt: .* was made with 2, now it is 3"):
        go_on(tmp_path / "run", "steps=3", "task.problems_per_prompt=3")
    assert go_on(tmp_path / "run", "steps=3").finished
    assert "eval/never" in Run.load(tmp_path / "run").metrics[0]


def test_completions_have_room_for_all_answers() -> None:
    one, two = (resolve(load_config(None, given)).trainer["max_completion_length"] for given in ([], [TWO]))
    assert two == 2 * one
    with pytest.raises(ConfigError, match=r"for 20 problems a prompt: lower task.problems_per_prompt"):
        resolve(load_config(None, ["task={name: countdown, problems_per_prompt: 20}"]))


@pytest.mark.parametrize("count", ["0", "two", "1001", "1.5"])
def test_an_impossible_number_is_named_by_its_key(count: str) -> None:
    with pytest.raises(ConfigError, match=r"^task.problems_per_prompt: problems_per_prompt "):
        resolve(load_config(None, [f"task.problems_per_prompt={count}"]))


@pytest.mark.parametrize(("parts", "share"), [(None, 0.5), ([[1.0, 0.0], [0.0, 0.0]], 0.25)])
def test_failures_are_logged_as_a_share_of_the_answers(parts: list[list[float]] | None, share: float) -> None:
    class Slow:
        name = "slow"

        def score_all(self, problems: list[Problem], completions: list[str]) -> Scored:
            return Scored([0.5, 0.0], {"timed_out": 1}, parts)

    logged: dict[str, float] = {}
    assert _reward(Slow(), [Problem("", "")])(["a", "b"], problem=[0, 0], log_metric=logged.__setitem__) == [0.5, 0.0]
    assert logged == {"scoring/timed_out": share}
