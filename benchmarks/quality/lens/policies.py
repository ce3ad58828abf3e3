"""Exact tabular policies that learn with any method, and what the lens foresees of each.

8 prompts, 6 positions with 12 tokens each, one logit for every one of them; 16 completions a prompt share one reward, 1 where at
least 4 of the 6 tokens are of the prompt's good ones. Plain gradient descent, four optimizer steps on each batch: from the second
on its data are stale.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import entrostat as es
from entrostat.attribution.lens import lens, rollouts_of
from entrostat.core.control import EntropyControl
from entrostat.lab import group_advantages
from entrostat.methods import Chain
from entrostat.methods.cards import described, example
from entrostat.methods.denominators import kept_advantages
from entrostat.types import STATISTICS, Old, TokenBatch, TokenStats

P, T, V, G, GOOD, NEEDED = 8, 6, 12, 16, 4, 4
LEARNING_RATE, UPDATES = 20.0, 4


class World:
    """A policy, its prompts' good tokens, and random numbers; all from one seed. An answer is right with `needed` good ones."""

    def __init__(self, seed: int, needed: int = NEEDED) -> None:
        self.needed, self.generator = needed, torch.Generator().manual_seed(seed)
        self.logits_PTV = 1.2 * torch.randn(P, T, V, generator=self.generator, dtype=torch.float64)
        self.good_PTV = torch.rand(P, T, V, generator=self.generator).argsort(-1) < GOOD

    def sample(self, temperature_P: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (P, G, T) and rewards (P, G)."""
        uniform_PTG = torch.rand(P, T, G, generator=self.generator, dtype=torch.float64)
        cumulative_PTV = torch.softmax(self.logits_PTV / temperature_P[:, None, None], -1).cumsum(-1)
        tokens_PGT = torch.searchsorted(cumulative_PTV, uniform_PTG).clamp_max_(V - 1).movedim(2, 1)
        good_PGT = self.good_PTV.unsqueeze(1).expand(P, G, T, V).gather(-1, tokens_PGT.unsqueeze(-1)).squeeze(-1)
        return tokens_PGT, (good_PGT.sum(-1) >= self.needed).double()

    @property
    def entropy(self) -> float:
        logp = torch.log_softmax(self.logits_PTV, -1)
        return float(-(logp.exp() * logp).sum(-1).mean())

    def moved(self, step_PTV: Tensor) -> float:
        """Takes a step and returns what it does to the mean entropy to first order, exactly."""
        logp = torch.log_softmax(self.logits_PTV, -1)
        entropy_PT1 = -(logp.exp() * logp).sum(-1, keepdim=True)
        slope_PTV = -logp.exp() * (entropy_PT1 + logp) / (P * T)
        self.logits_PTV = self.logits_PTV + step_PTV
        return float((slope_PTV * step_PTV).sum())


def statistics(logits_PTV: Tensor, tokens_PGT: Tensor, want: set[Any], temperature: float) -> TokenStats:
    rows = logits_PTV.unsqueeze(1).expand(P, G, T, V).reshape(P * G, T, V)
    targets = tokens_PGT.reshape(P * G, T)
    return es.token_stats(rows, targets, want={*STATISTICS, *want}, temperature=temperature)


class Batch:
    """Sampled completions, and the policy that they come from."""

    def __init__(self, world: World, control: EntropyControl, wanted: set[Any]) -> None:
        temperature, factor_P = control.temperature, torch.tensor(control.group_temperatures(P), dtype=torch.float64)
        self.tokens_PGT, rewards_PG = world.sample(temperature * factor_P)
        self.tempered_B = factor_P.repeat_interleave(G)
        self.temperature, self.wanted = temperature, {want for want in wanted if not isinstance(want, Old)}
        self.rewards_B, self.groups_B = rewards_PG.reshape(-1), torch.arange(P).repeat_interleave(G)
        self.advantages_B = group_advantages(rewards_PG).reshape(-1)
        with torch.no_grad():
            of_old = {want.of for want in wanted if isinstance(want, Old)}
            self.old = statistics(world.logits_PTV, self.tokens_PGT, of_old, temperature)

    def seen(self, logits_PTV: Tensor) -> TokenBatch:
        """The batch under a policy."""
        return self._with(statistics(logits_PTV, self.tokens_PGT, self.wanted, self.temperature))

    def _with(self, now: TokenStats) -> TokenBatch:
        mask = torch.ones(P * G, T, dtype=torch.bool)
        old, rewards, groups = self.old.logp, self.rewards_B, self.groups_B
        return TokenBatch(now, self.advantages_B, mask, old, rewards, groups, self.old, self.tempered_B)

    def score(self, control: EntropyControl) -> None:
        """The reward stage; rows that it drops leave the mean."""
        self.advantages_B = kept_advantages(control.score(rollouts_of(self._with(self.old))), "token")


class Foreseen:
    """What the lens says of many methods along a run that none of them touches."""

    def __init__(self, methods: dict[str, Chain]) -> None:
        self.methods, self.looks, self.plain = methods, 0, 0.0
        self.change, self.turned = dict.fromkeys(methods, 0.0), dict.fromkeys(methods, 0)

    def look(self, batch: TokenBatch) -> None:
        for name, method in self.methods.items():
            view = lens(method, batch)
            self.change[name] += view.changed - view.plain
            self.turned[name] += view.reverses
        self.plain, self.looks = self.plain + view.plain, self.looks + 1

    def share(self, name: str) -> float:
        """The change that the method makes, over the size of the plain one."""
        return self.change[name] / abs(self.plain) if self.plain else math.nan


def train(
    method: Chain, seed: int, steps: int, foreseen: Foreseen | None = None, needed: int = NEEDED, updates: int = UPDATES
) -> dict[str, float]:
    """One run: the entropy at its start and end, the sum of its steps' first-order effects, the last batch's mean reward."""
    world, control = World(seed, needed), EntropyControl(method)
    start, first_order = world.entropy, 0.0
    wanted = set(method.requires).union(*(each.requires for each in foreseen.methods.values()) if foreseen else ())
    for step in range(steps):
        if step % updates == 0:
            batch = Batch(world, control, wanted)
            if "reward" in method.stages:
                batch.score(control)
        logits = world.logits_PTV.clone().requires_grad_()
        seen = batch.seen(logits)
        if foreseen:
            foreseen.look(seen)
        objective = es.loss(control.apply(es.ppo(seen), seen), seen)
        (gradient,) = torch.autograd.grad(objective, logits, allow_unused=True)
        control.step()
        if gradient is not None:
            first_order += world.moved(-LEARNING_RATE * gradient)
    return {"start": start, "end": world.entropy, "first": first_order, "reward": float(batch.rewards_B.mean())}


def ready(name: str, start: float, longest: int = T, vocabulary: int = V) -> Chain:
    """A method as it is compared: its defaults, the initial entropy as its target, and what a short run needs."""
    options: dict[str, Any] = {}
    settings = {each.name for each in described(name).settings}
    if "target" in settings:
        options["target"] = start
    if "steps" in settings and "band" not in settings:
        options["steps"] = 60
    short: dict[str, dict[str, Any]] = {
        "aepo_qwenlong": {"low": 0.9 * start, "high": 1.1 * start},
        "entrocraft": {"band": es.Band(0.9 * start, 1.1 * start)},
        "wapo": {"longest": longest},
        "e3_temperature": {"vocabulary": vocabulary},
        "siren": {"coef": 0.5},
        "scope": {"alpha": 1 / P},
    }
    return example(name, **options, **short.get(name, {}))
