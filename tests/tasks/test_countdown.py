"""Countdown: what counts as right, and that the problems posed are solvable and split cleanly."""

import json
import re
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrostat.errors import ConfigError
from entrostat.tasks import Task, load_task
from entrostat.tasks.base import Problem
from entrostat.tasks.countdown import Countdown, outcome, reachable, solutions, traces

NUMBERS = st.lists(st.integers(1, 12), min_size=2, max_size=3)


def problem(numbers, target):
    return Problem("", "", {"numbers": numbers, "target": target})


@settings(deadline=None)  # enumeration is cached, so the first example takes longer than the rest
@given(NUMBERS, st.data())
def test_every_enumerated_solution_scores_one_and_misses_every_other_target(numbers, data):
    target = data.draw(st.sampled_from(reachable(tuple(numbers))))
    for text in solutions(tuple(numbers), target):
        assert Countdown().score(problem(numbers, target), text) == 1.0
        assert Countdown().score(problem(numbers, target + 1), text) == 0.0


@settings(deadline=None)  # enumeration is cached, so the first example takes longer than the rest
@given(NUMBERS, st.data())
def test_any_changed_result_is_wrong_arithmetic(numbers, data):
    text, end = data.draw(st.sampled_from(traces(tuple(numbers))))
    results = list(re.finditer(r"=([0-9]+)", text))
    place = data.draw(st.sampled_from(results))
    wrong = int(place[1]) + data.draw(st.integers(1, 9))
    broken = f"{text[: place.start(1)]}{wrong}{text[place.end(1) :]}"
    assert outcome(numbers, broken) is None
    assert Countdown().score(problem(numbers, end), broken) == 0.0


@settings(deadline=None)  # enumeration is cached, so the first example takes longer than the rest
@given(st.text(max_size=40) | st.text(alphabet="0123456789+-*/=; ", max_size=30))
def test_any_text_gets_a_score(text):
    assert Countdown().score(problem([3, 5, 8], 19), text) in (0.0, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3*8=24",  # a number is left over
        "3*8=24;24-5=19;19-0=19",  # a number that was not given
        "3*8=24;24-5=19;",
        "3+8=11;3+8=11",  # numbers used twice
        "3*8=24;24-24=0",  # a result used twice
        "24-5=19;3*8=24",  # a result used before it exists
        "3-8=-5;24-5=19",
        "8/5=1;1+3=4",
        "3*8=24;24-5=19 and so on",
        "٣*8=24;24-5=19",  # a digit, but not an ASCII one
        "9" * 5000 + "+1=2",
    ],
)
def test_invalid_completions_score_zero(text):
    assert Countdown().score(problem([3, 5, 8], 19), text) == 0.0


def test_outer_space_is_forgiven():
    assert Countdown().score(problem([3, 5, 8], 19), " 3*8=24;24-5=19\n") == 1.0


@settings(deadline=None)  # enumeration is cached, so the first example takes longer than the rest
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_splits_share_no_problem_whatever_the_seeds(train_seed, eval_seed):
    train = {p.prompt for p in Countdown().problems("train", 50, train_seed)}
    assert not train & {p.prompt for p in Countdown().problems("eval", 50, eval_seed)}


def test_problems_are_deterministic_json_and_solvable():
    task = load_task("countdown")
    assert isinstance(task, Task)
    drawn = task.problems("train", 200, seed=3)
    assert drawn == task.problems("train", 200, seed=3) != task.problems("train", 200, seed=4)
    assert len({p.prompt for p in drawn}) == 200
    for p in drawn:
        assert Problem(**json.loads(json.dumps(asdict(p)))) == p
        assert task.score(p, p.answer) == 1.0
        assert len(p.answer) < task.max_completion_tokens
        assert p.prompt == f"{' '.join(map(str, p.meta['numbers']))}>{p.meta['target']}:"


def test_most_problems_have_several_right_answers():
    drawn = Countdown().problems("eval", 200, seed=0)
    counts = [len(solutions(tuple(p.meta["numbers"]), p.meta["target"])) for p in drawn]
    assert sum(count > 1 for count in counts) > 0.8 * len(counts)


def test_a_small_pool_repeats_only_when_it_is_used_up():
    task = Countdown(numbers=2, low=2, high=4)
    drawn = [p.prompt for p in task.problems("train", 60, seed=0)]
    pool = set(drawn)
    assert len(pool) < 30
    assert set(drawn[: len(pool)]) == pool


def test_rare_problems_come_no_later_in_a_pass_than_common_ones():
    """Three equal numbers are drawn six times less often than three different ones."""
    task = Countdown()
    pool = len({p.prompt for p in task.problems("train", 4_000, seed=0)})
    drawn = task.problems("train", pool, seed=0)
    rare = [place for place, p in enumerate(drawn) if len(set(p.meta["numbers"])) < 3]
    assert len(rare) > 300
    assert abs(sum(rare) / len(rare) / pool - 0.5) < 4 * (12 * len(rare)) ** -0.5  # four standard errors


@pytest.mark.parametrize("options", [{}, {"numbers": 2, "low": 2, "high": 4}, {"numbers": 4, "max_target": 10**6}])
def test_a_longer_list_begins_with_the_shorter_one(options):
    task = Countdown(**options)
    long = task.problems("train", 80, seed=5)
    assert all(task.problems("train", count, seed=5) == long[:count] for count in (1, 7, 40))


def test_more_numbers_can_be_asked_for():
    (p,) = Countdown(numbers=4).problems("train", 1, seed=0)
    assert p.answer.count(";") == 2
    assert Countdown(numbers=4).score(p, p.answer) == 1.0


@pytest.mark.parametrize(
    "options", [{"numbers": 1}, {"numbers": 9}, {"low": 5, "high": 4}, {"max_target": 0}, {"eval_share": 1.0}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError):
        Countdown(**options)


def test_an_empty_split_is_refused():
    with pytest.raises(ConfigError, match="no problem"):
        Countdown(numbers=2, low=50, high=50, max_target=1, eval_share=0.0001).problems("eval", 1, seed=0)


def test_wrong_requests_are_refused():
    with pytest.raises(ConfigError, match="split is 'test'"):
        Countdown().problems("test", 1, seed=0)
    with pytest.raises(ConfigError, match="count is -1"):
        Countdown().problems("train", -1, seed=0)
