"""Training of the exact tabular policies of `entrostat.lab.bandit` under a method.

An optimizer step samples a group of actions per state, gives group advantages, lets the method change the objective through
its own `apply`, takes the gradient of that objective at the logits, and ends with the method's own `update`, all as in a
trainer, at some 4,000 steps a second.

Dimensions: S states, P states of a batch, V arms, G actions of a state in a batch, Q responses of a batch, B = P G tokens.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from entrostat.control.knob import is_feedback, reads_effect
from entrostat.core.host import FIELDS, Host
from entrostat.errors import ConfigError
from entrostat.lab.bandit import Bandit
from entrostat.lab.plant import Event, Trace
from entrostat.lab.tabular import group_advantages
from entrostat.methods import Chain, loss, observe, ppo, token_push
from entrostat.types import Summary, Surrogate, TokenBatch, TokenStats

_CHUNK = 1024  # batches whose random numbers are drawn at once,
_NUMBERS = 1 << 22  # and how many numbers that may be

BANDIT = Host(
    "a bandit",
    stages=frozenset({"loss", "sampling"}),
    fields=frozenset(FIELDS) - {"advantages", "rows", "group_temperatures"},
    why={
        "stage:reward": "it has one advantage of each action and no completions; train a policy with `entrostat train`"
    },
)


def train_bandit(bandit: Bandit, method: Chain, steps: int, *, seed: int = 0, events: Sequence[Event] = ()) -> Trace:
    """Train the bandit for `steps` optimizer steps under a method.

    Args:
        events: changes of `learning_rate` and `noise`; a bandit has no drift or gain of its own to set.

    Raises:
        ConfigError: an event that changes something else. HostError: a method that needs more than a bandit has.
    """
    BANDIT.check(method)
    changes: dict[int, dict[str, float]] = {}
    for event in events:
        if other := set(event.changes) - {"learning_rate", "noise"}:
            raise ConfigError(
                f"{sorted(other)[0]} of the event at step {event.at}: a bandit has only learning_rate, noise"
            )
        changes[event.at] = changes.get(event.at, {}) | event.changes
    # Terms of the loss (an entropy bonus) are differentiated by autograd; everything else has a closed form.
    by_autograd = any(name.startswith(("terms", "form")) for name in method.writes)
    context: contextlib.AbstractContextManager[Any] = torch.no_grad() if by_autograd else torch.inference_mode()
    with context:
        return _Training(bandit, method, seed, by_autograd).run(steps, changes)


def sampled_batch(bandit: Bandit, seed: int = 0) -> TokenBatch:
    """A batch that the bandit's policy samples before it has learned anything: B rows of one token, state by state."""
    with torch.no_grad():
        training = _Training(bandit, observe(), seed, by_autograd=False)
        training.chunk = 1
        actions_PG, rewards_PG = training._sample(training._uniform()[0])
        logp_PV = torch.log_softmax(training.logits_SV[training.rows] / bandit.temperature, -1)
        return training.batch(logp_PV, actions_PG, group_advantages(rewards_PG), rewards_PG, None)


class _Training:
    """The variables of one training."""

    def __init__(self, bandit: Bandit, method: Chain, seed: int, by_autograd: bool) -> None:
        self.bandit, self.method, self.by_autograd = bandit, method.with_timing(bandit.delay), by_autograd
        self.state = self.method.init()
        self.logits_SV = bandit.policy.logits_SV.clone()
        self.velocity_SV = torch.zeros_like(self.logits_SV)
        self.generator = torch.Generator().manual_seed(seed)
        self.rows: Tensor | slice = slice(None)
        self.count = (bandit.prompts or self.logits_SV.shape[0] // bandit.positions) * bandit.positions
        self.chunk = max(1, min(_CHUNK, _NUMBERS // (2 * self.count * bandit.group)))
        self.mask_B1 = torch.ones(self.count * bandit.group, 1, dtype=torch.bool)
        self.learning_rate, self.noise, self.temperature = bandit.learning_rate, bandit.noise, bandit.temperature
        self.draw = random.Random(seed).gauss
        knobs = [(i, name, knob) for i, link in enumerate(method.links) for name, knob in link.knobs.items()]
        self.tells_effect = any(reads_effect(knob) for *_, knob in knobs)
        # Where the trace takes target and output from: the first feedback controller, or else the first knob.
        self.shown = next(((i, name) for i, name, knob in knobs if is_feedback(knob)), knobs[0][:2] if knobs else None)

    def run(self, steps: int, changes: dict[int, dict[str, float]]) -> Trace:
        trace, first = Trace(), self.bandit.learning_rate
        for t in range(steps):
            change = changes.get(t, {})
            self.noise = change.get("noise", self.noise)
            self.learning_rate = first * change["learning_rate"] if "learning_rate" in change else self.learning_rate
            batch_at, update_at = divmod(t, self.bandit.updates)
            if update_at == 0:
                self.temperature = self.bandit.temperature * self.method.temperature(self.state)
                if batch_at % self.chunk == 0:
                    uniform = self._uniform()
                actions_PG, rewards_PG = self._sample(uniform[batch_at % self.chunk])
                advantages_PG, reward = group_advantages(rewards_PG), float(rewards_PG.mean())
            logp_PV = torch.log_softmax(self.logits_SV[self.rows] / self.temperature, -1)
            if update_at == 0:
                sampled_PG = logp_PV.gather(1, actions_PG)
            error = self.draw(0.0, self.noise) if self.noise else 0.0
            entropy = self._step(
                logp_PV, actions_PG, advantages_PG, rewards_PG, sampled_PG if update_at else None, error
            )
            trace.add(entropy + error, entropy, self._controller())
            trace.reward.append(reward)
        return trace

    def _uniform(self) -> Tensor:
        """Random numbers of the next batches: two for each action, and one for each state where states are drawn."""
        shape = (self.chunk, 2, self.count, self.bandit.group)
        return torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def _sample(self, uniform_2PG: Tensor) -> tuple[Tensor, Tensor]:
        """Actions of the policy as it is, and their rewards; `rows` are the states that they belong to."""
        states, positions = self.logits_SV.shape[0], self.bandit.positions
        if self.count < states:
            drawn = torch.randperm(states // positions, generator=self.generator)[: self.count // positions]
            self.rows = (drawn[:, None] * positions + torch.arange(positions)).flatten()
        probs = torch.softmax(self.logits_SV[self.rows] / self.temperature, -1)
        actions = torch.searchsorted(probs.cumsum(-1), uniform_2PG[0]).clamp_max_(probs.shape[1] - 1)
        worth = self.bandit.success_SV[self.rows]
        success = worth.gather(1, actions)
        if positions == 1:
            return actions, (uniform_2PG[1] < success).double()
        mean_P1 = (probs * worth).sum(-1, keepdim=True)
        variance_P = (probs * (worth - mean_P1).square()).sum(-1)
        by_response = (-1, positions, self.bandit.group)
        z_QG = (success - mean_P1).view(by_response).sum(1)
        z_QG /= variance_P.view(-1, positions).sum(1, keepdim=True).sqrt().clamp_min(1e-12)
        rewards_QG = (uniform_2PG[1].view(by_response)[:, 0] < torch.special.ndtr(z_QG)).double()
        return actions, rewards_QG.repeat_interleave(positions, 0)

    def _step(
        self,
        logp_PV: Tensor,
        actions_PG: Tensor,
        advantages_PG: Tensor,
        rewards_PG: Tensor,
        old_PG: Tensor | None,
        error: float,
    ) -> float:
        """One optimizer step of policy and method; the mean entropy before it."""
        probs_PV = logp_PV.exp()
        entropy_P1 = -(probs_PV * logp_PV).sum(-1, keepdim=True)
        discriminator_PV = probs_PV * (entropy_P1 + logp_PV)
        shape = actions_PG.shape
        batch = self.batch(logp_PV, actions_PG, advantages_PG, rewards_PG, old_PG)
        mean = float(entropy_P1.mean())
        tokens = float(self.mask_B1.shape[0])
        sums = {"tokens": tokens, "entropy": tokens * (mean + error), "batches": 1.0}
        if self.tells_effect:
            sums["flow_sq"] = float((batch.advantages_BT * batch.stats.centered).square().sum())
        by_logp, by_entropy = self._controlled(batch, Summary(sums))
        # Down the gradient of the loss at the logits; the mean over all tokens becomes one over each state's group.
        by_logp_PG = by_logp.view(shape) * (self.count / self.temperature)
        gradient = (-by_logp_PG.sum(1, keepdim=True) * probs_PV).scatter_add_(1, actions_PG, by_logp_PG)
        if by_entropy is not None:
            weight = by_entropy.view(shape).sum(1, keepdim=True) * (self.count / self.temperature)
            gradient -= weight * discriminator_PV
        if isinstance(self.rows, Tensor):
            gradient = torch.zeros_like(self.logits_SV).index_copy_(0, self.rows, gradient)
        self.velocity_SV = self.bandit.momentum * self.velocity_SV + (1 - self.bandit.momentum) * gradient
        self.logits_SV = self.logits_SV - self.learning_rate * self.velocity_SV
        return mean

    def batch(
        self, logp_PV: Tensor, actions_PG: Tensor, advantages_PG: Tensor, rewards_PG: Tensor, old_PG: Tensor | None
    ) -> TokenBatch:
        """The batch as methods see it: one row of one token for each action."""
        probs_PV = logp_PV.exp()
        entropy_P1 = -(probs_PV * logp_PV).sum(-1, keepdim=True)

        def column(values_P1: Tensor) -> Tensor:
            return values_P1.expand(actions_PG.shape).reshape(-1, 1)

        stats = TokenStats(
            logp=logp_PV.gather(1, actions_PG).view(-1, 1),
            entropy=column(entropy_P1),
            baseline=column((probs_PV.square() * (entropy_P1 + logp_PV)).sum(-1, keepdim=True)),
            collision=column(probs_PV.square().sum(-1, keepdim=True)) if "collision" in self.method.requires else None,
        )
        old_B1 = None if old_PG is None else old_PG.view(-1, 1)
        return TokenBatch(stats, advantages_PG.reshape(-1, 1), self.mask_B1, old_B1, rewards_PG.reshape(-1))

    def _controlled(self, batch: TokenBatch, standard: Summary) -> tuple[Tensor, Tensor | None]:
        """The method's part of a step: the gradient of its objective by logp and by entropy, and its next state."""
        if not self.by_autograd:
            return token_gradient(self._changed(batch, standard), batch), None
        with torch.enable_grad():
            logp, entropy = (batch.stats.need(name).clone().requires_grad_() for name in ("logp", "entropy"))
            batch = replace(batch, stats=replace(batch.stats, logp=logp, entropy=entropy))
            surrogate = self._changed(batch, standard)
            by_logp, by_entropy = torch.autograd.grad(loss(surrogate, batch), (logp, entropy), allow_unused=True)
        return torch.zeros_like(logp) if by_logp is None else by_logp, by_entropy

    def _changed(self, batch: TokenBatch, standard: Summary) -> Surrogate:
        """The objective as the method changes it; the method has stepped."""
        plain = ppo(batch, self.bandit.eps, self.bandit.eps)
        if self.bandit.delay == 0:
            changed, self.state, *_ = self.method.step_on(plain, batch, self.state, standard)
            return changed
        changed, sums = self.method.account(plain, batch, self.state)
        self.state, _ = self.method.update(self.state, self.method.totals(standard, sums))
        return changed

    def _controller(self) -> Any:
        """The state of the knob that the trace shows."""
        return self.state[self.shown[0]].knobs[self.shown[1]] if self.shown else _Uncontrolled()


@dataclass(frozen=True)
class _Uncontrolled:
    output: float = 0.0


def token_gradient(surrogate: Surrogate, batch: TokenBatch) -> Tensor:
    """The gradient of `methods.loss` by logp, (B, T), of an objective without terms: minus each token's push over n."""
    mask = batch.mask if surrogate.keep_BT is None else batch.mask & surrogate.keep_BT
    return -token_push(surrogate, batch) / mask.sum().clamp_min(1)
