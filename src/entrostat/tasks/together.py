"""Several problems in one prompt: one response answers them all, and its reward is the share of them that it solves.

    1. What is 3 + 4?
    2. What is 5 + 1?
    Answer all 2: each on a line of its own, after its number.

Works over any task. The problems are numbered inside the task's own template, and so are the worked examples. A task that has a
`separator` poses its problems with that between them instead, and reads the answers alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from entrostat.errors import ConfigError, DataError
from entrostat.tasks.base import Problem, Scored, Split, Task, check_request, score_all
from entrostat.tasks.template import Template

MOST = 1000
_NUMBER = re.compile(r"^[ \t]*([0-9]{1,4})[.)](?!\S)[ \t]*", re.MULTILINE)
_CHAT = re.compile(r"<\|[^|\s]{1,40}\|>|\[INST\]|<start_of_turn>")


class Together:
    """`task` with `problems_per_prompt` problems in each prompt.

    A score is the mean of the problems' own: the share that is solved, where they are right or wrong. A problem without an
    answer scores 0, answers beyond the last are not read. No problem comes twice in a prompt; beyond that they come in the
    order of `task`, whose splits share none. `Problem.meta` holds the problems.

    Raises `ConfigError` for a count below 2 or above 1,000, and for worked examples that do not fill whole prompts.
    """

    def __init__(self, task: Task, problems_per_prompt: int) -> None:
        if not 2 <= problems_per_prompt <= MOST:
            raise ConfigError(f"problems_per_prompt is {problems_per_prompt}; choose 1 to {MOST:,}")
        self.task, self.problems_per_prompt = task, problems_per_prompt
        self.name, self.temperature = task.name, task.temperature
        separator = getattr(task, "separator", None)
        self._format: _Format = _Numbered() if separator is None else _Separated(separator)
        self._template: Template = getattr(task, "template", Template())
        examples: Sequence[Problem] = getattr(task, "examples", ())
        if len(examples) % problems_per_prompt:
            raise ConfigError(
                f"shots is {len(examples)}; with problems_per_prompt at {problems_per_prompt} every worked example shows so "
                "many: choose a multiple of that"
            )
        groups = [examples[i : i + problems_per_prompt] for i in range(0, len(examples), problems_per_prompt)]
        self._shown = [(self._question(group), self._answer(group)) for group in groups]

    @property
    def max_completion_tokens(self) -> int:
        """The task's own for every problem, and what stands between two answers."""
        count = self.problems_per_prompt
        return count * (self.task.max_completion_tokens + self._format.extra_tokens(count))

    def problems(self, split: Split, count: int, seed: int) -> list[Problem]:
        """`count` prompts of a split, of which a smaller count is the beginning.

        Raises `DataError` when the split has too few different problems to fill a prompt.
        """
        check_request(split, count)
        size, asked = self.problems_per_prompt, count * self.problems_per_prompt
        while len(groups := _groups(posed := self.task.problems(split, asked, seed), size)) < count:
            if asked >= 8 * size and len(different := {problem.prompt for problem in posed}) < size:
                raise DataError(
                    f"problems_per_prompt is {size}, and the first {asked} problems of the {split!r} split of {self.name} hold "
                    f"only {len(different)} different ones; choose at most that, or widen the task"
                )
            asked += max(size, asked // 8)
        return [self._together(group) for group in groups[:count]]

    def score(self, problem: Problem, completion: str) -> float:
        """The mean score of the problems; 0 for those without an answer."""
        return self.score_all([problem], [completion]).values[0]

    def score_all(self, problems: Sequence[Problem], completions: Sequence[str]) -> Scored:
        """As `score`, all answers side by side if the task does so; `parts` has the score of each."""
        size = self.problems_per_prompt
        parts = [[0.0] * size for _ in completions]
        places, asked, answers = list[tuple[int, int]](), list[Problem](), list[str]()
        for row, (problem, text) in enumerate(zip(problems, completions, strict=True)):
            for place, answer in self._format.read(text, size).items():
                places.append((row, place))
                asked.append(Problem(**problem.meta["problems"][place]))
                answers.append(answer)
        scored = score_all(self.task, asked, answers)
        for (row, place), value in zip(places, scored.values, strict=True):
            parts[row][place] = value
        return Scored([sum(each) / size for each in parts], scored.failed, parts)

    def _together(self, group: Sequence[Problem]) -> Problem:
        question, answer = self._question(group), self._answer(group)
        meta = {"problems": [asdict(problem) for problem in group]}
        return Problem(self._template.prompt(question, self._shown), answer, meta, question)

    def _question(self, group: Sequence[Problem]) -> str:
        questions = [problem.question or problem.prompt for problem in group]
        if chat := next(filter(None, map(_CHAT.search, questions)), None):
            raise ConfigError(
                f"problems_per_prompt is {self.problems_per_prompt}, and a prompt of {self.name} holds {chat[0]!r} of a chat: "
                "such prompts cannot be put into one. Give the plain question, and the format in task.template, such as 'chatml'"
            )
        return self._format.pose(questions)

    def _answer(self, group: Sequence[Problem]) -> str:
        answers = [problem.answer.strip() for problem in group]
        text = self._format.answer(answers)
        if self._format.read(text, len(group)) != dict(enumerate(answers)):
            raise DataError(
                f"problems_per_prompt is {self.problems_per_prompt}, and the right answers to {self.name} cannot be told apart "
                f"in one text, such as {text[:200]!r}: pose one problem a prompt"
            )
        return text


def _groups(problems: Sequence[Problem], size: int) -> list[list[Problem]]:
    """Whole groups of `size` different problems, in order; one that is in its group already is left out."""
    groups, group = list[list[Problem]](), dict[str, Problem]()
    for problem in problems:
        group.setdefault(problem.prompt, problem)
        if len(group) == size:
            groups.append(list(group.values()))
            group = {}
    return groups


class _Format(Protocol):
    """How several questions and several answers make one text each."""

    def pose(self, questions: Sequence[str]) -> str: ...

    def answer(self, answers: Sequence[str]) -> str: ...

    def read(self, completion: str, count: int) -> dict[int, str]:
        """The answers by place, from 0; a place without an answer is absent."""
        ...

    def extra_tokens(self, count: int) -> int:
        """What a completion spends on each of `count` answers beside the answer."""
        ...


class _Numbered:
    def pose(self, questions: Sequence[str]) -> str:
        between = "\n\n" if any("\n" in question for question in questions) else "\n"
        numbered = [f"{number}. {question}" for number, question in enumerate(questions, 1)]
        last = f"Answer all {len(questions)}: each on a line of its own, after its number."
        return between.join([*numbered, last])

    def answer(self, answers: Sequence[str]) -> str:
        return "\n".join(f"{number}. {answer}" for number, answer in enumerate(answers, 1))

    def read(self, completion: str, count: int) -> dict[int, str]:
        """An answer goes from its number, at the start of a line, to a larger one; without any number a line is an answer."""
        marks: list[tuple[int, int, int]] = []
        for found in _NUMBER.finditer(completion):
            number = int(found[1])
            if (marks[-1][0] if marks else 0) < number <= count + 1:  # the one after the last ends that
                marks.append((number, found.start(), found.end()))
        if not marks:
            lines = [line.strip() for line in completion.splitlines() if line.strip()]
            return dict(enumerate(lines[:count]))
        ends = [start for _, start, _ in marks[1:]] + [len(completion)]
        numbered = zip(marks, ends, strict=True)
        return {number - 1: completion[start:end].strip() for (number, _, start), end in numbered if number <= count}

    def extra_tokens(self, count: int) -> int:
        return len(str(count)) + 3  # the number, a point, a space and the end of the line


@dataclass(frozen=True)
class _Separated:
    separator: str

    def pose(self, questions: Sequence[str]) -> str:
        return self.separator.join(questions)

    def answer(self, answers: Sequence[str]) -> str:
        return self.separator.join(answers)

    def read(self, completion: str, count: int) -> dict[int, str]:
        return dict(enumerate(completion.strip().split(self.separator)[:count]))

    def extra_tokens(self, count: int) -> int:
        return 0  # the task's own counts an end for every answer
