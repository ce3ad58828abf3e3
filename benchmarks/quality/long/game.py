"""Countdown as a game of moves: a state is the numbers that are left, a move takes two of them and leaves their result.

Moves that leave the same numbers are one move, so that a move is the state that it leads to. All states are numbered, and
tables hold what can follow on what: playing many games at once is indexing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from entrostat.tasks.countdown import Countdown

LARGEST = 255
"""Numbers above it look alike to a policy; no target is as large."""
NONE = LARGEST + 1


def moves(numbers: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The states that one operation leads to, by countdown's rules: whole results, none negative."""
    found: set[tuple[int, ...]] = set()
    for i, j in combinations(range(len(numbers)), 2):
        low, high = sorted((numbers[i], numbers[j]))
        rest = [number for k, number in enumerate(numbers) if k not in (i, j)]
        results = {low + high, low * high, high - low}
        results |= {high // low} if low and high % low == 0 else set()
        results |= {0} if high and low == 0 else set()  # 0 / high
        found |= {tuple(sorted([*rest, result])) for result in results}
    return sorted(found)


@dataclass(frozen=True)
class Game:
    """Problems and the tables of every state that play can reach from them.

    `start_P` and `target_P` are each problem's first state and target, `next_SA` the states that a state leads to (-1: no
    such move), `numbers_S3` the numbers of a state, `NONE` where there are fewer than three, `last_S` the only number of a
    finished one, else -1; `moves` is how many moves a game has.
    """

    start_P: Tensor
    target_P: Tensor
    next_SA: Tensor
    numbers_S3: Tensor
    last_S: Tensor
    moves: int

    def part(self, rows_P: Tensor) -> Game:
        """The same tables with some of the problems."""
        return Game(self.start_P[rows_P], self.target_P[rows_P], self.next_SA, self.numbers_S3, self.last_S, self.moves)


def games(numbers: int, train: int, held_out: int, seed: int) -> tuple[Game, Game]:
    """Training and held-out problems of the task `countdown`, over one set of tables."""
    task = Countdown(numbers=numbers)
    posed = [task.problems("train", train, seed), task.problems("eval", held_out, seed)]
    index: dict[tuple[int, ...], int] = {}
    following: list[list[int]] = []

    def number(state: tuple[int, ...]) -> int:
        if state not in index:
            index[state] = len(index)
            following.append([])
            after = [number(each) for each in moves(state)] if len(state) > 1 else []
            following[index[state]] = after
        return index[state]

    starts = [torch.tensor([number(tuple(problem.meta["numbers"])) for problem in some]) for some in posed]
    targets = [torch.tensor([problem.meta["target"] for problem in some]) for some in posed]
    widest = max(map(len, following))
    next_SA = torch.tensor([row + [-1] * (widest - len(row)) for row in following])
    numbers_S3 = torch.tensor([[min(n, LARGEST) for n in state[:3]] + [NONE] * (3 - len(state)) for state in index])
    last_S = torch.tensor([state[0] if len(state) == 1 else -1 for state in index])
    made = [
        Game(start, target, next_SA, numbers_S3, last_S, numbers - 1)
        for start, target in zip(starts, targets, strict=True)
    ]
    return made[0], made[1]
