"""Several problems in one prompt: how they are posed, how answers are found, what they score."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrostat.errors import ConfigError, DataError
from entrostat.models.tiny import new_tiny
from entrostat.models.tokenizer import char_tokenizer
from entrostat.tasks import Task, load_task
from entrostat.tasks.base import Problem, Scored
from entrostat.tasks.evaluate import evaluate
from entrostat.tasks.together import Together


class Sums:
    """A task with nothing but what the protocol asks for; a pool of five problems, gone through again and again."""

    name, max_completion_tokens, temperature = "sums", 7, 0.9

    def problems(self, split: str, count: int, seed: int) -> list[Problem]:
        first = 0 if split == "train" else 5
        return [Problem(f"{first + n % 5} + 1", str(first + n % 5 + 1)) for n in range(count)]

    def score(self, problem: Problem, completion: str) -> float:
        return float(completion == problem.answer)


def sums_file(folder: Any, *rows: dict[str, Any], **options: Any) -> Task:
    path = folder / "sums.jsonl"
    rows = rows or tuple({"prompt": f"{a} + {b}", "answer": a + b} for a in range(10) for b in range(10))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_task(str(path), **options)


def test_problems_are_numbered_and_so_are_their_answers():
    task = Together(Sums(), 3)
    assert isinstance(task, Task)
    (posed,) = task.problems("train", 1, seed=0)
    assert posed.prompt == "1. 0 + 1\n2. 1 + 1\n3. 2 + 1\nAnswer all 3: each on a line of its own, after its number."
    assert posed.answer == "1. 1\n2. 2\n3. 3"
    assert task.score(Problem(**json.loads(json.dumps(asdict(posed)))), posed.answer) == 1.0
    assert (task.name, task.temperature) == ("sums", 0.9)
    assert task.max_completion_tokens == 3 * (7 + 4)  # the number, a point, a space, the end of the line


@pytest.mark.parametrize(
    ("completion", "right"),
    [
        ("1. 1\n2. 2\n3. 3", [1, 1, 1]),
        ("Here are all 3:\n\n 1) 1\n\n2) 2\n3)\n3\n", [1, 1, 1]),
        ("1\n2\n\n3", [1, 1, 1]),  # without numbers, line by line
        ("1. 1\n3. 3", [1, 0, 1]),  # too few: those that are there count
        ("1. 1", [1, 0, 0]),
        ("1", [1, 0, 0]),
        ("2. 2\n1. 1\n3. 3", [0, 0, 1]),  # in their order: what comes between belongs to the answer before it
        ("1. 1\n2. 2\n3. 3\n4. 4\n5. 5", [1, 1, 1]),  # too many: the rest is not read
        ("1\n2\n3\n4", [1, 1, 1]),
        ("1. 1\n1. 5\n2. 2\n3. 3", [0, 1, 1]),  # two answers to one problem are one answer, and a wrong one
        ("1.5\n2\n3", [0, 1, 1]),  # a number with a point is no number of an answer
        ("4. 4", [0, 0, 0]),
        ("", [0, 0, 0]),
        ("٣. 3", [0, 0, 0]),
    ],
)
def test_answers_are_found_by_their_numbers(completion, right):
    task = Together(Sums(), 3)
    scored = task.score_all(task.problems("train", 1, seed=0), [completion])
    assert scored.parts == [right]
    assert scored.values == [sum(right) / 3]


@given(st.text(max_size=60) | st.text(alphabet="123. \n)", max_size=30))
def test_any_text_gets_a_score(text):
    task = Together(Sums(), 3)
    assert 0.0 <= task.score(task.problems("train", 1, seed=0)[0], text) <= 1.0


def test_an_answer_may_take_many_lines(tmp_path):
    task = sums_file(tmp_path, problems_per_prompt=2)
    (posed,) = task.problems("train", 1, seed=0)
    first, second = (each["answer"] for each in posed.meta["problems"])
    assert task.score(posed, f"1. Let me see.\nIt must be\n\n{first}\n2. That is {second}.") == 1.0


def test_no_problem_comes_twice_in_a_prompt_and_a_longer_list_begins_with_the_shorter_one():
    task = Together(Sums(), 3)  # five problems: the second prompt would begin with the last two of them and the first
    drawn = task.problems("train", 40, seed=0)
    for posed in drawn:
        assert len({each["prompt"] for each in posed.meta["problems"]}) == 3
    assert all(task.problems("train", count, seed=0) == drawn[:count] for count in (0, 1, 2, 17))
    four = Together(Sums(), 4).problems("train", 9, seed=0)
    assert all(len({each["prompt"] for each in posed.meta["problems"]}) == 4 for posed in four)


@pytest.mark.parametrize("name", ["countdown", "rg:chain_sum"])
def test_splits_share_no_problem_and_seeds_decide(name):
    task = load_task(name, problems_per_prompt=4)
    train, held_out = task.problems("train", 20, seed=0), task.problems("eval", 10, seed=0)
    assert train == task.problems("train", 20, seed=0) != task.problems("train", 20, seed=1)
    single = [{each["prompt"] for posed in split for each in posed.meta["problems"]} for split in (train, held_out)]
    assert (len(single[0]), len(single[1])) == (80, 40)
    assert not single[0] & single[1]
    assert [task.score(posed, posed.answer) for posed in train] == [1.0] * 20


def test_countdown_stays_within_its_alphabet():
    from entrostat.models.tokenizer import COUNTDOWN_ALPHABET

    one, task = load_task("countdown"), load_task("countdown", problems_per_prompt=2)
    (posed,) = task.problems("train", 1, seed=0)
    first, second = one.problems("train", 2, seed=0)
    assert posed.prompt == f"{first.prompt} {second.prompt}"
    assert posed.answer == f"{first.answer} {second.answer}"
    assert set(posed.prompt + posed.answer) <= set(COUNTDOWN_ALPHABET)
    assert task.score(posed, first.answer) == task.score(posed, f"{first.answer} 1+1=2") == 0.5
    assert task.score(posed, f"{posed.answer} 1+1=2") == 1.0  # one too many is not read
    assert task.score(posed, f"{second.answer} {first.answer}") == 0.0
    assert task.max_completion_tokens == 2 * one.max_completion_tokens > len(posed.answer)


def test_the_template_is_around_all_problems_and_examples_have_as_many():
    task = load_task("rg:chain_sum", problems_per_prompt=2, shots=4, template="chatml", max_terms=2)
    posed = task.problems("train", 30, seed=0)
    turns = posed[0].prompt.split("<|im_start|>user\n")[1:]
    assert len(turns) == 3
    assert all(turn.startswith("1. ") and "\n2. " in turn and turn.count("Answer all 2") == 1 for turn in turns)
    assert posed[0].prompt.endswith("<|im_end|>\n<|im_start|>assistant\n")
    shown = [turn.split("<|im_end|>")[0] for turn in turns[:2]]
    assert not any(each["question"] in text for p in posed for each in p.meta["problems"] for text in shown)


def test_questions_of_many_lines_stand_apart(tmp_path):
    rows = [{"prompt": f"{n}\nplus one?", "answer": n + 1} for n in range(30)]
    (posed,) = sums_file(tmp_path, *rows, problems_per_prompt=2).problems("train", 1, seed=0)
    assert "\nplus one?\n\n2. " in posed.prompt and "\nplus one?\n\nAnswer all 2" in posed.prompt


def test_a_file_takes_a_template(tmp_path):
    plain, chat = sums_file(tmp_path), sums_file(tmp_path, template="chatml")
    (one,), (other,) = plain.problems("train", 1, seed=0), chat.problems("train", 1, seed=0)
    assert other.prompt == f"<|im_start|>user\n{one.prompt}<|im_end|>\n<|im_start|>assistant\n"
    assert (one.question, other.question) == (one.prompt, one.prompt)
    (posed,) = sums_file(tmp_path, template="chatml", problems_per_prompt=4).problems("train", 1, seed=0)
    assert posed.prompt.count("<|im_start|>user\n1. ") == posed.prompt.count("<|im_start|>") - 1 == 1
    with pytest.raises(ConfigError, match="template is 'Q:'"):
        sums_file(tmp_path, template="Q:")


def test_partial_scores_of_the_problems_are_kept():
    class Half(Sums):
        def score_all(self, problems: Sequence[Problem], completions: Sequence[str]) -> Scored:
            return Scored([0.5] * len(problems), {"timed_out": len(problems) - 1})

    task = Together(Half(), 2)
    posed = task.problems("train", 2, seed=0)
    scored = task.score_all(posed, ["1. 7\n2. 7", "1. 7"])
    assert scored == Scored([0.5, 0.25], {"timed_out": 2}, [[0.5, 0.5], [0.5, 0.0]])


def test_evaluation_counts_each_problem_by_itself(monkeypatch):
    torch.manual_seed(0)
    policy = new_tiny(width=16, layers=1, heads=2, hidden=16), char_tokenizer()
    task = load_task("countdown", problems_per_prompt=2)
    posed = task.problems("eval", 3, seed=0)
    firsts = {p.prompt: p.meta["problems"][0]["answer"] for p in posed}

    def first_solved(problems: Sequence[Problem], completions: Sequence[str]) -> Scored:
        return Together.score_all(task, problems, [firsts[p.prompt] for p in problems])

    monkeypatch.setattr(task, "score_all", first_solved)
    result = evaluate(*policy, task, posed, samples=2, ks=(1, 2))
    assert (result.problems, result.samples) == (6, 2)
    assert (result.avg_at_k, result.pass_at_k) == (0.5, {1: 0.5, 2: 0.5})
    assert (result.always, result.sometimes, result.never) == (0.5, 0.0, 0.5)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "problems_per_prompt must be a whole number, 1 or more, got 0"),
        (-2, "got -2"),
        (2.5, "got 2.5"),
        ("2", "got '2'"),
        (True, "got True"),
        (None, "got None"),
        (1001, "problems_per_prompt is 1001; choose 1 to 1,000"),
    ],
)
def test_counts_that_cannot_be_are_refused(value, said):
    with pytest.raises(ConfigError, match=said):
        load_task("countdown", problems_per_prompt=value)


def test_one_problem_a_prompt_is_the_task_itself():
    assert load_task("countdown", problems_per_prompt=1) == load_task("countdown")


def test_examples_that_do_not_fill_prompts_are_refused():
    with pytest.raises(ConfigError, match="shots is 3; with problems_per_prompt at 2"):
        load_task("rg:chain_sum", shots=3, problems_per_prompt=2)


def test_a_split_with_too_few_problems_is_refused():
    with pytest.raises(DataError, match=r"problems_per_prompt is 6.* hold only 5 different ones"):
        Together(Sums(), 6).problems("train", 1, seed=0)
    assert Together(Sums(), 6).problems("train", 0, seed=0) == []
    assert len(Together(Sums(), 5).problems("train", 3, seed=0)) == 3


def test_prompts_that_are_chats_already_are_refused(tmp_path):
    rows = [{"prompt": f"<|im_start|>user\n{n}<|im_end|>\n", "answer": n} for n in range(30)]
    with pytest.raises(ConfigError, match=r"'<\|im_start\|>'.*task.template"):
        sums_file(tmp_path, *rows, problems_per_prompt=2).problems("train", 1, seed=0)


def test_answers_that_cannot_be_told_apart_are_refused(tmp_path):
    rows = [{"prompt": f"count to {n}", "answer": "1. one\n2. two"} for n in range(30)]
    with pytest.raises(DataError, match="cannot be told apart"):
        sums_file(tmp_path, *rows, problems_per_prompt=2).problems("train", 1, seed=0)
