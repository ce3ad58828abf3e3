"""A task from a JSONL file of prompts and answers, checked as mathematics.

{"prompt": "What is 1/2 + 1/4?", "answer": "3/4"}
"""

from __future__ import annotations

import json
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from entrostat.errors import ConfigError, DataError, NotInstalled
from entrostat.tasks.base import Problem, Split, check_request, draw, in_eval


class Jsonl:
    """The problems of the file at `path`, one JSON object a line; keys beside `prompt` and `answer` go to `meta`.

    A stable hash of the prompt decides the split, so that it does not move when lines are added or reordered. An answer
    that math-verify can read is compared as mathematics (1/2 equals 0.5), any other as text, apart from case and outer
    spaces.

    Raises `ConfigError` when there is no such file and `DataError`, with the line number, when a line is malformed;
    `NotInstalled` when math-verify is absent.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_completion_tokens: int = 256,
        temperature: float = 1.0,
        eval_share: float = 0.1,
    ) -> None:
        if not 0 < eval_share < 1:
            raise ConfigError(f"eval_share is {eval_share}; choose a share between 0 and 1")
        if find_spec("math_verify") is None:
            raise NotInstalled("JSONL tasks need math-verify; install it with `pip install entrostat[train]`")
        self.name = str(path)
        self.max_completion_tokens = max_completion_tokens
        self.temperature = temperature
        self._pools: dict[str, list[Problem]] = {"train": [], "eval": []}
        for problem in read_problems(Path(path)):
            self._pools["eval" if in_eval(problem.prompt, eval_share) else "train"].append(problem)

    def problems(self, split: Split, count: int, seed: int) -> list[Problem]:
        """`count` problems of a split in random order, none twice before all have come once.

        Raises `DataError` when no line of the file falls into the split.
        """
        check_request(split, count)
        pool = self._pools[split]
        if count and not pool:
            raise DataError(f"no line of {self.name} falls into the {split!r} split; add lines or change eval_share")
        return draw(pool, count, seed)

    def score(self, problem: Problem, completion: str) -> float:
        """1.0 when the completion's answer equals the file's, else 0.0."""
        if completion.strip().casefold() == problem.answer.strip().casefold():
            return 1.0
        return float(_equal_as_mathematics(problem.answer, completion))


def read_problems(path: Path) -> list[Problem]:
    """The problems of a JSONL file. Blank lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read the task file {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from error
    problems = [_problem(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not problems:
        raise DataError(f'{path} holds no problems; write one {{"prompt": ..., "answer": ...}} per line')
    return problems


def _problem(line: str, where: str) -> Problem:
    wanted = 'each line must be an object such as {"prompt": "1+1=", "answer": "2"}'
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg} at column {error.colno}); {wanted}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: a {type(row).__name__}, not an object; {wanted}")
    prompt, answer = row.pop("prompt", None), row.pop("answer", None)
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    for key, value in (("prompt", prompt), ("answer", answer)):
        if not isinstance(value, str) or not value:
            raise DataError(f"{where}: {key!r} is {value!r}; {wanted}")
    return Problem(str(prompt), str(answer), row)


def _equal_as_mathematics(answer: str, completion: str) -> bool:
    from math_verify import parse, verify

    # math-verify stops endless simplifications with a signal, which only the main thread may set.
    seconds = 5 if threading.current_thread() is threading.main_thread() else None
    try:
        gold = parse(answer, parsing_timeout=seconds) or parse(f"${answer}$", parsing_timeout=seconds)
        return bool(gold and verify(gold, parse(completion, parsing_timeout=seconds), timeout_seconds=seconds))
    except Exception:  # sympy raises many kinds on text that only looks like mathematics; none of it is right
        return False
