"""A closed loop on exact tabular policies: a real method steers a real, if small, policy that learns from rewards.

Every state is a bandit: a softmax policy over V arms, each with a probability of success. `entrostat.lab.bandit_training`
trains them. Entropies are exact; what is left out are the shared parameters of a language model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from entrostat.errors import ConfigError
from entrostat.lab.tabular import TabularPolicy


@dataclass(frozen=True)
class Bandit:
    """A tabular policy, what its arms earn, and how it is trained.

    Args:
        policy: S states, V arms.
        success_SV: probability that an arm is rewarded with 1.
        group: actions of each state in a batch.
        positions: consecutive states that are one prompt's response and share one reward, as the tokens of a language
            model's response do; see below.
        prompts: prompts in a batch, drawn anew for each; None: all. Fewer than all make the measured entropy noisy.
        learning_rate: step along the gradient of the mean over a state's group.
        momentum: of the update, v <- beta v + (1 - beta) gradient, as Adam's first moment.
        temperature: of sampling and of everything that is measured.
        updates: optimizer steps on each batch; from the second on they are off-policy, with importance ratios.
        eps: clip range of the importance ratio, 1 - eps to 1 + eps.
        delay: 1: the method's output acts from the next step on (TRL); 0: on the batch that was measured (the verl adapter).
        noise: standard deviation of a noise on the measured entropy [nats].

    With several positions, `success_SV` is what an arm adds to a response, and a response is rewarded with the chance
    Phi(z), z the deviation of its sum from what the policy's responses have at present, in standard deviations. So half of
    all responses are right however much the policy has learned, as if problems grew with it, and the drift lasts.

    Raises:
        ConfigError: a setting outside its range, naming it.
    """

    policy: TabularPolicy
    success_SV: Tensor
    group: int = 16
    positions: int = 1
    prompts: int | None = None
    learning_rate: float = 0.1
    momentum: float = 0.0
    temperature: float = 1.0
    updates: int = 1
    eps: float = 0.2
    delay: int = 1
    noise: float = 0.0

    def __post_init__(self) -> None:
        shape = tuple(self.policy.logits_SV.shape)
        if tuple(self.success_SV.shape) != shape:
            raise ConfigError(f"success_SV must have the policy's shape {shape}, got {tuple(self.success_SV.shape)}")
        if not bool(((self.success_SV >= 0) & (self.success_SV <= 1)).all()):
            raise ConfigError("success_SV must hold probabilities between 0 and 1")
        ranges = {
            "group": (2, math.inf),
            "positions": (1, shape[0]),
            "prompts": (1, shape[0] // max(1, self.positions)),
            "learning_rate": (1e-12, math.inf),
            "momentum": (0, 1 - 1e-9),
            "temperature": (1e-6, math.inf),
            "updates": (1, math.inf),
            "eps": (1e-9, math.inf),
            "delay": (0, 1),
            "noise": (0, math.inf),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise ConfigError(f"{name} of the bandit must lie between {low:g} and {high:g}, got {value!r}")
        if shape[0] % self.positions:
            raise ConfigError(f"positions must divide the number of states, {shape[0]}, got {self.positions!r}")


def random_bandit(
    arms: int = 64, states: int = 1, start: float | None = None, seed: int = 0, **training: Any
) -> Bandit:
    """A bandit with normal logits, scaled to a mean entropy of `start` nats, and uniform probabilities of success.

    Args:
        arms, states: V and S.
        start: mean entropy before the first step [nats]; None: 60 % of log V.
        training: as for `Bandit`.

    Raises:
        ConfigError: an entropy that `arms` arms cannot have; what `Bandit` refuses.
    """
    if arms < 2 or states < 1:
        raise ConfigError(f"a bandit needs at least 2 arms and 1 state, got {arms} and {states}")
    start = 0.6 * math.log(arms) if start is None else start
    if not 0.01 <= start <= math.log(arms) - 1e-6:
        raise ConfigError(f"start must lie between 0.01 and log V = {math.log(arms):.4f} nats, got {start!r}")
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(states, arms, generator=generator, dtype=torch.float64)
    success = torch.rand(states, arms, generator=generator, dtype=torch.float64)
    temperature = training.get("temperature", 1.0)
    low, high = 0.0, 1.0
    while float(TabularPolicy(high * direction).entropy_S.mean()) > start:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        above = float(TabularPolicy(middle * direction).entropy_S.mean()) > start
        low, high = (middle, high) if above else (low, middle)
    return Bandit(TabularPolicy(high * temperature * direction), success, **training)
