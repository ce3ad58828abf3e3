"""Tasks from a file: reading, splitting, checking as mathematics."""

import json
import os
import threading

import pytest

from entrostat.errors import ConfigError, DataError
from entrostat.tasks import Task, load_task
from entrostat.tasks.base import Problem
from entrostat.tasks.jsonl import read_problems


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return str(path)


@pytest.fixture
def task(tmp_path):
    rows = [{"prompt": f"{n}+1=", "answer": n + 1, "level": n} for n in range(100)]
    return load_task(write(tmp_path / "sums.jsonl", *rows))


def test_lines_become_problems_in_disjoint_splits(task):
    assert isinstance(task, Task)
    train, held_out = task.problems("train", 70, seed=0), task.problems("eval", 4, seed=0)
    assert train == task.problems("train", 70, seed=0) != task.problems("train", 70, seed=1)
    assert not {p.prompt for p in train} & {p.prompt for p in held_out}
    assert len({p.prompt for p in train}) == 70
    assert train[0].answer == str(train[0].meta["level"] + 1)


def test_more_problems_than_lines_go_round_again(task):
    drawn = [p.prompt for p in task.problems("eval", 60, seed=0)]
    size = len(set(drawn))
    assert len(drawn) == 60 and len(set(drawn[:size])) == size


@pytest.mark.parametrize(
    ("answer", "completion", "score"),
    [
        ("3/4", "so the answer is 0.75", 1.0),
        (r"\frac{3}{4}", r"therefore $\boxed{\frac34}$", 1.0),
        ("19", "19", 1.0),
        ("19", "20", 0.0),
        ("Paris", " paris\n", 1.0),
        ("Paris", "London", 0.0),
        ("19", "", 0.0),
        ("19", "\\frac{", 0.0),
    ],
)
def test_answers_are_compared_as_mathematics_or_text(task, answer, completion, score):
    assert task.score(Problem("", answer), completion) == score


def test_scores_outside_the_main_thread(task):
    scores = []
    thread = threading.Thread(target=lambda: scores.append(task.score(Problem("", "3/4"), "0.75")))
    thread.start()
    thread.join()
    assert scores == [1.0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "a list"),
        ({"prompt": "1+1="}, "'answer' is None"),
        ({"prompt": "", "answer": "2"}, "'prompt' is ''"),
        ({"prompt": "1+1=", "answer": True}, "'answer' is True"),
        ({"prompt": "1+1=", "answer": float("inf")}, "'answer' is inf"),
        ("[" * 200_000, "nested too deeply"),
        ('{"prompt": "1+1=", "answer": ' + "9" * 6000 + "}", "Exceeds the limit"),
        ({"prompt": "\ud800", "answer": "2"}, "'prompt' holds half a character"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, reason):
    path = write(tmp_path / "bad.jsonl", {"prompt": "1+1=", "answer": "2"}, "", line)
    with pytest.raises(DataError, match=rf"line 3: .*{reason}|line 3: {reason}"):
        load_task(path)


def test_a_line_ends_with_a_line_feed_alone(tmp_path):
    file = tmp_path / "odd.jsonl"
    file.write_text(
        '\ufeff{"prompt": "a\u2028b\x85c", "answer": "1"}\r\n{"prompt": "d", "answer": "2"}\n', encoding="utf-8"
    )
    assert [(p.prompt, p.answer) for p in read_problems(file)] == [("a\u2028b\x85c", "1"), ("d", "2")]


@pytest.mark.parametrize(
    "name", ["a\0b.jsonl", "\ud800.jsonl", "x" * 5000 + ".jsonl", "pipe.jsonl", "zero.jsonl", "loop.jsonl"]
)
def test_paths_that_are_no_files_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.jsonl")
    os.symlink("/dev/zero", "zero.jsonl")
    os.symlink("loop.jsonl", "loop.jsonl")
    with pytest.raises(ConfigError, match="task file"):
        load_task(name)


def test_files_that_hold_no_task_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="check the path"):
        load_task(str(tmp_path / "absent.jsonl"))
    with pytest.raises(DataError, match="no problems"):
        load_task(write(tmp_path / "empty.jsonl", ""))
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "\xe9"}')
    with pytest.raises(DataError, match="UTF-8"):
        load_task(str(tmp_path / "latin.jsonl"))
    one = load_task(write(tmp_path / "one.jsonl", {"prompt": "1+1=", "answer": "2"}), eval_share=0.001)
    with pytest.raises(DataError, match="'eval' split"):
        one.problems("eval", 1, seed=0)
