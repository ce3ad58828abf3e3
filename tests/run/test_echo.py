"""A question that earns the reward when it is given back as the answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrostat.run.fits import earned_by_echo
from entrostat.tasks.countdown import Countdown
from entrostat.tasks.jsonl import Jsonl


def sums(path: Path, asked: str) -> Jsonl:
    path.write_text("\n".join(json.dumps({"prompt": asked.format(n), "answer": str(n + 6)}) for n in range(40)))
    return Jsonl(path, template="chatml")


def test_it_is_said_with_an_example(tmp_path: Path) -> None:
    task = sums(tmp_path / "sums.jsonl", "{} + 6")
    said = earned_by_echo(task, task.problems("train", 30, 0))
    assert said is not None and "16 of the first 16 questions earn the reward" in said and "+ 6'" in said


@pytest.mark.parametrize("name", ["words", "countdown"])
def test_nothing_is_said_where_it_earns_nothing(name: str, tmp_path: Path) -> None:
    task = sums(tmp_path / "words.jsonl", "What is {} + 6?") if name == "words" else Countdown()
    assert earned_by_echo(task, task.problems("train", 30, 0)) is None
