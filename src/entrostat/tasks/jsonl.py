"""A task from a JSONL file of prompts and answers, checked as mathematics.

{"prompt": "What is 1/2 + 1/4?", "answer": "3/4"}
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from entrostat.errors import ConfigError, DataError, NotInstalled
from entrostat.tasks.base import Problem, Scored, Split, check_request, draw, in_eval
from entrostat.tasks.scoring import Pool
from entrostat.tasks.template import as_template


class Jsonl:
    """The problems of the file at `path`, one JSON object a line; keys beside `prompt` and `answer` go to `meta`.

    `template` is put around each prompt: `plain`, `chatml` (SmolLM2, Qwen) or a text with `{question}`.
    A stable hash of the file's prompt decides the split, so that it does not move when lines are added or reordered. An answer
    that math-verify can read is compared as mathematics (1/2 equals 0.5), any other as text, apart from case and outer
    spaces.

    Raises `ConfigError` when there is no such file and `DataError`, with the line number, when a line is malformed;
    `NotInstalled` when math-verify is absent.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        template: str = "{question}",
        max_completion_tokens: int = 256,
        temperature: float = 1.0,
        eval_share: float = 0.1,
    ) -> None:
        if not 0 < eval_share < 1:
            raise ConfigError(f"eval_share is {eval_share}; choose a share between 0 and 1")
        if find_spec("math_verify") is None:
            raise NotInstalled("JSONL tasks need math-verify; install it with `pip install entrostat[train]`")
        self.name = str(path)
        self.template = as_template(template)
        self._pool = Pool("entrostat.tasks.jsonl:mathematics", {}, ("1/2", "0.5"))
        self.max_completion_tokens = max_completion_tokens
        self.temperature = temperature
        self._pools: dict[str, list[Problem]] = {"train": [], "eval": []}
        for problem in read_problems(Path(path)):
            put = replace(problem, prompt=self.template.prompt(problem.prompt), question=problem.prompt)
            self._pools["eval" if in_eval(problem.prompt, eval_share) else "train"].append(put)

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
        return self.score_all([problem], [completion]).values[0]

    def score_all(self, problems: Sequence[Problem], completions: Sequence[str]) -> Scored:
        """As `score`, in processes of their own: what a completion looks like to sympy may take for ever."""
        pairs = list(zip(problems, completions, strict=True))
        values = [float(text.strip().casefold() == problem.answer.strip().casefold()) for problem, text in pairs]
        open_ones = [index for index, value in enumerate(values) if not value]
        scored = self._pool.scores([(pairs[index][0].answer, pairs[index][1]) for index in open_ones])
        for index, value in zip(open_ones, scored.values, strict=True):
            values[index] = value
        return Scored(values, scored.failed)


def read_problems(path: Path) -> list[Problem]:
    """The problems of a JSONL file. Blank lines are skipped; a line ends with a line feed alone, since JSON's texts may hold
    what else Unicode takes for an end."""
    try:
        endless = path.exists() and not path.is_file() and not path.is_dir()
        lines = [] if endless else path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise ConfigError(f"cannot read the task file {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from error
    except ValueError as error:  # a NUL or half a character in the path
        raise ConfigError(f"no task file can be called {str(path)!r}: {error}; check the path") from error
    if endless:
        raise ConfigError(f"the task file {path} is a device or a pipe, which may never end: give a file")
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
    except RecursionError as error:
        raise DataError(f"{where}: it is nested too deeply; {wanted}") from error
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"{where}: {error}; {wanted}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: a {type(row).__name__}, not an object; {wanted}")
    prompt, answer = row.pop("prompt", None), row.pop("answer", None)
    if isinstance(answer, int | float) and not isinstance(answer, bool) and math.isfinite(answer):
        answer = str(answer)
    for key, value in (("prompt", prompt), ("answer", answer)):
        if not isinstance(value, str) or not value:
            raise DataError(f"{where}: {key!r} is {value!r}; {wanted}")
        if not value.isprintable() and any("\ud800" <= each <= "\udfff" for each in value):
            raise DataError(f"{where}: {key!r} holds half a character, {value!r}: no tokenizer can read it; {wanted}")
    return Problem(str(prompt), str(answer), row)


def mathematics() -> Callable[[str, str], float]:
    """What the scoring processes run: 1.0 where a completion equals an answer as mathematics, else 0.0."""
    from math_verify import parse, verify

    def score(answer: str, completion: str) -> float:
        # Its own limits on time work by a signal in the main thread; the process that this runs in has better ones.
        gold = parse(answer, parsing_timeout=None) or parse(f"${answer}$", parsing_timeout=None)
        return float(bool(gold and verify(gold, parse(completion, parsing_timeout=None), timeout_seconds=None)))

    return score
