"""Countdown in steps: reach a target from given numbers, one operation at a time.

    prompt      3 5 8>19:
    completion  3*8=24;24-5=19

Each step takes two available numbers, replaces them by their result, and the last result must be the target. **Every
given number must be used exactly once**, so n numbers take exactly n - 1 steps: the format leaves nothing to choose but
operands and operators, and most tokens (`=`, the digits of a result, `;`) follow from those before. That is the
regime of a language model that reasons: near-certain tokens with a few real choices between them.

Results are whole and never negative; a division must come out even. Several completions solve most problems.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from entrostat.errors import ConfigError
from entrostat.tasks.base import Problem, Split, check_request, in_eval

# At most nine digits: Python refuses to parse integers of thousands of digits, and no honest step comes near.
_STEP = re.compile(r"([0-9]{1,9})([-+*/])([0-9]{1,9})=([0-9]{1,9})")


@dataclass(frozen=True)
class Countdown:
    """Problems of `numbers` operands from `low` to `high` with a target from 1 to `max_target`; reward 1 or 0.

    A problem is its sorted numbers and its target. Whether it is for training or for evaluation is decided by a stable
    hash of that, so the splits are disjoint for all seeds. `problems` repeats itself only when it runs out of new ones, and
    each pass over them is in random order.

    Raises `ConfigError` for options that leave no problem to pose.
    """

    numbers: int = 3
    low: int = 1
    high: int = 9
    max_target: int = 99
    eval_share: float = 0.2

    name = "countdown"
    temperature = 1.0
    separator = " "  # between problems of one prompt and their answers: the tiny policies' alphabet has no more words

    def __post_init__(self) -> None:
        if not 2 <= self.numbers <= 5:
            raise ConfigError(f"numbers is {self.numbers}; choose 2 to 5 (solutions are enumerated)")
        if not 1 <= self.low <= self.high:
            raise ConfigError(f"low is {self.low} and high is {self.high}; choose 1 <= low <= high")
        if self.max_target < 1:
            raise ConfigError(f"max_target is {self.max_target}; choose 1 or more")
        if not 0 < self.eval_share < 1:
            raise ConfigError(f"eval_share is {self.eval_share}; choose a share between 0 and 1")

    @property
    def max_completion_tokens(self) -> int:
        """Characters of the longest possible completion, and one for the end of the sequence."""
        widths = [len(str(self.high**used)) for used in range(1, self.numbers + 1)]
        return sum(widths[0] + before + after + 3 for before, after in pairwise(widths))

    def problems(self, split: Split, count: int, seed: int) -> list[Problem]:
        """`count` problems of a split, of which a smaller count is the beginning.

        Raises `ConfigError` when the options leave that split empty.
        """
        check_request(split, count)
        rng, drawn, seen, in_vain = random.Random(seed), list[Problem](), set[str](), 0
        while len(drawn) < count:
            found = self._any(rng)
            prompt = f"{' '.join(map(str, found[0]))}>{found[1]}:" if found else ""
            if found is None or prompt in seen or in_eval(prompt, self.eval_share) != (split == "eval"):
                in_vain += 1
                if in_vain == 10_000:  # all of them have come: begin a new pass
                    if not seen:
                        raise ConfigError(f"{self} has no problem in the {split!r} split; widen its range")
                    seen, in_vain = set(), 0
                continue
            in_vain = 0
            seen.add(prompt)
            meta = {"numbers": list(found[0]), "target": found[1]}
            drawn.append(Problem(prompt, solutions(*found)[0], meta))
        return drawn

    def _any(self, rng: random.Random) -> tuple[tuple[int, ...], int] | None:
        """Numbers and a target, each problem as likely as any other; None for a draw that was in vain.

        Where common ones came first, a run would meet the rare ones at the end of every pass, and its entropy would rise and
        fall with them.
        """
        # Sorted numbers with repetition are subsets of a longer range, each of which is drawn alike.
        subset = sorted(rng.sample(range(self.high - self.low + self.numbers), self.numbers))
        given = tuple(self.low + place - i for i, place in enumerate(subset))
        most = math.prod(
            4 * math.comb(k, 2) for k in range(2, self.numbers + 1)
        )  # results: a pair and an operation at each step
        place = rng.randrange(min(self.max_target, most))
        targets = [end for end in reachable(given) if 1 <= end <= self.max_target]
        return (given, targets[place]) if place < len(targets) else None

    def score(self, problem: Problem, completion: str) -> float:
        """1.0 when every step is allowed and right and the last one reaches the target, else 0.0."""
        return float(outcome(problem.meta["numbers"], completion) == problem.meta["target"])


def outcome(given: list[int], completion: str) -> int | None:
    """The number that a completion ends at when all its steps are valid and use up all numbers, else None."""
    available = list(given)
    for step in completion.strip().split(";"):
        match = _STEP.fullmatch(step)
        if match is None:
            return None
        left, right, result = int(match[1]), int(match[3]), int(match[4])
        for operand in (left, right):
            if operand not in available:
                return None
            available.remove(operand)
        if _apply(match[2], left, right) != result:
            return None
        available.append(result)
    return available[0] if len(available) == 1 else None


def traces(given: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """Every valid completion, none twice, with the number that it ends at."""
    return _all_traces(tuple(sorted(given)))


def solutions(given: tuple[int, ...], target: int) -> list[str]:
    """Every completion that reaches `target`, sorted by how they are found; empty when it is out of reach."""
    return [text for text, end in traces(given) if end == target]


def reachable(given: tuple[int, ...]) -> tuple[int, ...]:
    """The sorted numbers that some valid completion ends at."""
    return _reachable(tuple(sorted(given)))


@lru_cache(maxsize=4096)
def _reachable(given: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({end for _, end in _all_traces(given)}))


@lru_cache(maxsize=4096)
def _all_traces(given: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    if len(given) == 1:
        return (("", given[0]),)
    found: dict[str, int] = {}  # keyed by text: equal operands reach the same text along several paths
    for i, left in enumerate(given):
        for j, right in enumerate(given):
            if i == j:
                continue
            rest = [number for k, number in enumerate(given) if k not in (i, j)]
            for operator in "+-*/":
                result = _apply(operator, left, right)
                if result is None:
                    continue
                step = f"{left}{operator}{right}={result}"
                for text, end in _all_traces(tuple(sorted([*rest, result]))):
                    found[f"{step};{text}" if text else step] = end
    return tuple(found.items())


def _apply(operator: str, left: int, right: int) -> int | None:
    """The result of one operation, or None where the rules forbid it."""
    if operator == "+":
        return left + right
    if operator == "*":
        return left * right
    if operator == "-":
        return left - right if left >= right else None
    return left // right if right and left % right == 0 else None
