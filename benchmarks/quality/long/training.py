"""How a player learns: a warm start by imitation, then GRPO with the project's own methods, a thousand steps and more."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from game import Game
from player import Played, Player, chances, logits_of, play
from torch import Tensor

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.lab.tabular import group_advantages
from entrostat.methods import Chain, loss, ppo
from entrostat.types import Old, Rollouts, TokenBatch, TokenStats, Want

KS = (1, 4, 16, 64)


@dataclass(frozen=True)
class Setting:
    """A game, the start that a player gets, and how it then learns.

    Args:
        numbers: of countdown.
        miss: share of the games that the warm start imitates without regard to the target.
        problems: a step's; each is played `group` times.
        per_reward: problems that share one reward, which is the share of them that were solved; a response is then
            `per_reward` games long.
        updates: optimizer steps on each batch; from the second on they are off-policy.
    """

    numbers: int = 3
    miss: float = 0.5
    warm: int = 300
    train: int = 2000
    held_out: int = 800
    problems: int = 16
    group: int = 16
    per_reward: int = 1
    updates: int = 1
    learning_rate: float = 1e-3
    steps: int = 1000
    judged: tuple[int, ...] = (100, 250, 500, 750, 1000)


SETTINGS = {
    "three numbers": Setting(),
    # A hard start: pass@1 below 5 %, pass@64 about one half.
    "four numbers": Setting(numbers=4, miss=0.9, train=6000, held_out=400),
    "three numbers, four updates a batch": Setting(updates=4),
    # Long responses: one reward for 32 and for 128 moves.
    "three numbers, 16 problems a reward": Setting(problems=16 * 16, per_reward=16),
    "three numbers, 64 problems a reward": Setting(problems=16 * 64, per_reward=64),
    "three numbers, 4,000 steps": Setting(steps=4000, judged=(500, 1000, 1500, 2000, 2500, 3000, 3500, 4000)),
}


def warm_start(setting: Setting, game: Game, seed: int) -> Player:
    """A player that has imitated random games, a share of which reach their target."""
    torch.manual_seed(seed)
    player, uniform = Player(), Player()
    torch.nn.init.zeros_(uniform.body[-1].weight)
    optimizer = torch.optim.AdamW(player.parameters(), lr=2e-3)
    for _ in range(setting.warm):
        problem_P = torch.randint(len(game.start_P), (64,))
        played = play(uniform, game, problem_P.repeat_interleave(32))
        won_P32 = played.reward_B.view(64, 32) * (torch.rand(64, 1) > setting.miss)
        chosen_P = (won_P32 + torch.rand(64, 32) * 0.5).argmax(1) + 32 * torch.arange(64)
        kept = Played(problem_P, played.state_BT[chosen_P], played.move_BT[chosen_P], played.reward_B[chosen_P])
        nll = torch.nn.functional.cross_entropy(logits_of(player, game, kept).flatten(0, 1), kept.move_BT.flatten())
        optimizer.zero_grad()
        nll.backward()
        optimizer.step()
    return player


def judge(player: Player, game: Game) -> dict[str, Any]:
    """Exact scores on a game's problems: greedy, pass@k at temperature 1, and problems solved always and never in 16 games."""
    chance_P, greedy_P = chances(player, game)
    return {
        "greedy": round(float(greedy_P.mean()), 4),
        "pass": {k: round(float((1 - (1 - chance_P) ** k).mean()), 4) for k in KS},
        "always": round(float((chance_P**16).mean()), 4),
        "never": round(float(((1 - chance_P) ** 16).mean()), 4),
    }


def advantages_of(played: Played, setting: Setting) -> tuple[Tensor, float]:
    """Each game's advantage among those of its group, (B,), and the share of groups without spread.

    Games are in order of problem, then sample. With `per_reward` problems to a reward, sample i of each of them is a part
    of the same response.
    """
    reward_RNG = played.reward_B.view(-1, setting.per_reward, setting.group)
    shared_RG = reward_RNG.mean(1)
    advantages_RG = group_advantages(shared_RG).float()
    without = float((shared_RG.std(1) == 0).float().mean())
    return advantages_RG[:, None].expand_as(reward_RNG).reshape(-1), without


def scored(control: EntropyControl, advantage_B: Tensor, played: Played, old: TokenStats, mask_BT: Tensor) -> Tensor:
    """The advantages as the reward stage leaves them; none for games that it leaves out."""
    lengths_B = mask_BT.sum(1).float()
    sums: dict[Want, Tensor] = {"logp": old.need("logp").sum(1), "entropy": old.need("entropy").sum(1)}
    rollouts = control.score(Rollouts(advantage_B, played.reward_B, played.problem_B, lengths_B, sums, mask_BT))
    return rollouts.advantages if rollouts.keep_B is None else rollouts.advantages * rollouts.keep_B


def train(
    player: Player,
    game: Game,
    method: Chain,
    setting: Setting,
    steps: int,
    seed: int,
    after: Callable[[int, Player, dict[str, float]], None],
) -> Player:
    """A copy of the player after `steps` optimizer steps; `after` is told of each."""
    player = copy.deepcopy(player)
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(player.parameters(), lr=setting.learning_rate)
    control = EntropyControl(method)
    # The first update's statistics are those of the policy that played.
    now = {want.of if isinstance(want, Old) else want for want in method.requires}
    order = torch.randperm(len(game.start_P))
    at = 0
    for step in range(1, steps + 1):
        if (step - 1) % setting.updates == 0:
            if at + setting.problems > len(order):
                order, at = torch.randperm(len(game.start_P)), 0
            problem_B = order[at : at + setting.problems].repeat_interleave(setting.group)
            at += setting.problems
            temperature = control.temperature
            played = play(player, game, problem_B, temperature)
            advantage_B, without = advantages_of(played, setting)
            old = None
        logits_BTA = logits_of(player, game, played)
        stats = es.token_stats(logits_BTA, played.move_BT, want=now, temperature=temperature)
        old = stats.detach() if old is None else old
        mask_BT = torch.ones_like(played.move_BT, dtype=torch.bool)
        if "reward" in method.stages and (step - 1) % setting.updates == 0:
            advantage_B = scored(control, advantage_B, played, old, mask_BT)
        advantages_BT = advantage_B[:, None].expand_as(played.move_BT)
        old_BT = old.need("logp") if setting.updates > 1 else None
        batch = TokenBatch(stats, advantages_BT, mask_BT, old_BT, played.reward_B, played.problem_B, old)
        objective = control.apply(ppo(batch), batch)
        optimizer.zero_grad()
        loss(objective, batch).backward()
        torch.nn.utils.clip_grad_norm_(player.parameters(), 1.0)
        optimizer.step()
        metrics = control.step(fresh=(step - 1) % setting.updates == 0)
        after(step, player, metrics | {"reward": float(played.reward_B.mean()), "without_spread": without})
    return player
