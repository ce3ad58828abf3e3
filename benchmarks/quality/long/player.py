"""A policy that plays countdown move by move: small enough for thousands of optimizer steps in a minute of one core.

Its parameters are shared between problems, it learns by AdamW from sampled games, and it is judged on problems that it has not
seen, as a language model is. Other than a language model's, its chances of success can be worked out exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from game import NONE, Game
from torch import Tensor, nn


class Player(nn.Module):
    """A softmax over the moves of a state; the score of a move is a small network of what it leaves and of the target."""

    def __init__(self, width: int = 24, hidden: int = 96) -> None:
        super().__init__()
        self.number = nn.Embedding(NONE + 1, width, padding_idx=NONE)
        self.target = nn.Embedding(NONE + 1, width)
        self.body = nn.Sequential(
            nn.Linear(3 * width + 2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, game: Game, state_N: Tensor, target_N: Tensor) -> Tensor:
        """Logits of the moves of each state, (N, A); -inf where there is no such move."""
        next_NA = game.next_SA[state_N]
        row, column = (next_NA >= 0).nonzero(as_tuple=True)
        numbers, target = game.numbers_S3[next_NA[row, column]], target_N[row]
        left, wanted = self.number(numbers).sum(1), self.target(target)
        size = torch.stack([numbers.masked_fill(numbers == NONE, 0).sum(1), target], 1).log1p() / 5
        score = self.body(torch.cat([left, wanted, left * wanted, size], 1)).squeeze(1)
        logits_NA = torch.full(next_NA.shape, -torch.inf)
        return logits_NA.index_put((row, column), score)


@dataclass(frozen=True)
class Played:
    """Games: the state before each move and the move taken, (B, T); the problem of each game; 1 where its target was reached."""

    problem_B: Tensor
    state_BT: Tensor
    move_BT: Tensor
    reward_B: Tensor


@torch.no_grad()
def play(player: Player, game: Game, problem_B: Tensor, temperature: float = 1.0) -> Played:
    """One sampled game of each problem."""
    state_B, target_B = game.start_P[problem_B], game.target_P[problem_B]
    states, taken = [], []
    for _ in range(game.moves):
        probs_BA = (_logits(player, game, state_B, target_B) / temperature).softmax(-1)
        move_B = torch.multinomial(probs_BA, 1).squeeze(1)
        states.append(state_B)
        taken.append(move_B)
        state_B = game.next_SA[state_B, move_B]
    reached_B = (game.last_S[state_B] == target_B).float()
    return Played(problem_B, torch.stack(states, 1), torch.stack(taken, 1), reached_B)


def logits_of(player: Player, game: Game, played: Played) -> Tensor:
    """The logits at every move of some games, (B, T, A), with their gradient."""
    state_BT = played.state_BT
    target_BT = game.target_P[played.problem_B][:, None].expand_as(state_BT)
    return _logits(player, game, state_BT, target_BT)


def _logits(player: Player, game: Game, state: Tensor, target: Tensor) -> Tensor:
    """Logits at places of any shape. Many games are in the same place: each place is looked at once."""
    places, which = torch.unique(state * (NONE + 1) + target, return_inverse=True)
    return player(game, places // (NONE + 1), places % (NONE + 1))[which]


@torch.no_grad()
def chances(player: Player, game: Game, together: int = 100) -> tuple[Tensor, Tensor]:
    """Of each problem: the chance that a game sampled at temperature 1 reaches the target, and whether greedy play does, (P,)."""
    sampled, greedy = [], []
    for first in range(0, len(game.start_P), together):
        start_P, target_P = game.start_P[first : first + together], game.target_P[first : first + together]
        problem_N, state_N = torch.arange(len(start_P)), start_P
        chance_N, best_N = torch.ones(len(start_P)), torch.ones(len(start_P), dtype=torch.bool)
        for _ in range(game.moves):
            logits_NA = player(game, state_N, target_P[problem_N])
            row, column = (game.next_SA[state_N] >= 0).nonzero(as_tuple=True)
            chance_N = chance_N[row] * logits_NA.softmax(-1)[row, column]
            best_N = best_N[row] & (logits_NA.argmax(-1)[row] == column)
            state_N, problem_N = game.next_SA[state_N[row], column], problem_N[row]
        right_N = game.last_S[state_N] == target_P[problem_N]
        total_P = torch.zeros(len(start_P))
        sampled.append(total_P.index_add(0, problem_N, chance_N * right_N))
        greedy.append(total_P.index_add(0, problem_N, (best_N & right_N).float()))
    return torch.cat(sampled).clamp(0, 1), torch.cat(greedy)
