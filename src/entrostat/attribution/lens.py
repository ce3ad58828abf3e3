"""The lens: which tokens a method touches, in which quadrant, and what that does to the entropy.

To first order a token moves the entropy by -push D per unit of step at the logits. Here push is how far the loss pushes its
log-probability up (r A without a method), and D is its centered discriminator (2602.03392, Theorem 2). Every method changes these
pushes. By the signs of A and D there are four kinds of token, and a method that holds back the two kinds that lower the entropy
raises it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from entrostat.errors import DataError
from entrostat.methods.authority import predicted_change
from entrostat.methods.base import MethodState
from entrostat.methods.chain import Chain
from entrostat.methods.denominators import kept_advantages, mean_of, step_push
from entrostat.methods.objectives import ppo, token_push
from entrostat.stats.summarize import quadrants_of, summarize
from entrostat.types import Rollouts, Surrogate, TokenBatch, Want

_SAME = 1e-9  # relative: below it a push has not been changed


@dataclass(frozen=True)
class Quadrant:
    """One kind of token.

    Attributes:
        tokens: how many there are.
        touched: how many of them the method pushes differently. It does not count that kept tokens weigh more if others are
            dropped.
        before, after: their first-order change of the entropy, per token of the batch and unit of step at the logits [nats].
    """

    tokens: int
    touched: int
    before: float
    after: float


@dataclass(frozen=True)
class Lens:
    """What a method does to one batch.

    Attributes:
        quadrants: by name, see `stats.summarize.QUADRANTS`; tokens of zero advantage under "none".
        plain, changed: predicted change of the entropy without and with the method, its added terms included
            [nats per unit of step at the logits].
        low, high: the same at the lowest and highest output of its controller; both `changed` where it has none.
    """

    quadrants: dict[str, Quadrant]
    plain: float
    changed: float
    low: float
    high: float

    @property
    def touched(self) -> float:
        """Share of the tokens that the method pushes differently."""
        tokens = sum(each.tokens for each in self.quadrants.values())
        return sum(each.touched for each in self.quadrants.values()) / tokens if tokens else 0.0

    @property
    def authority(self) -> float:
        """Range of the predicted change between the controller's limits, over the size of the drift; infinite without drift."""
        width = abs(self.high - self.low)
        return width / abs(self.plain) if self.plain else float("inf") if width else 0.0

    @property
    def reverses(self) -> bool:
        """Whether some output reverses or stops the drift of this batch."""
        return min(self.low, self.high) <= 0 <= max(self.low, self.high)


@torch.no_grad()
def lens(method: Chain, batch: TokenBatch, surrogate: Surrogate | None = None) -> Lens:
    """What a method does to one batch that is a whole optimizer step.

    It has taken one step on the same batch before, which some methods remember.

    Args:
        batch: with every statistic that the method requires, the baseline, and for methods that act on rewards `rewards_B` and
            `groups_B`.
        surrogate: the host's objective; PPO's clipped one if not given.

    Raises:
        MissingStatistic: the batch lacks a statistic; the message names it.
    """
    batch.stats.need("baseline")
    plain = ppo(batch) if surrogate is None else surrogate
    state = _warmed(method, batch, plain)
    changed, seen = _acted(method, batch, plain, state)
    ends = [predicted_change(_acted(method, batch, plain, each)[0], seen) for each in _at_limits(method, state)]
    before, after = token_push(plain, batch), token_push(changed, seen)
    total = predicted_change(changed, seen, after)
    low, high = (min(ends), max(ends)) if ends else (total, total)
    flows = step_push(plain, batch, before), step_push(changed, seen, after)
    quadrants = _quadrants(batch, plain, _different(before, after), *flows)
    return Lens(quadrants, predicted_change(plain, batch, before), total, low, high)


def _acted(method: Chain, batch: TokenBatch, plain: Surrogate, state: tuple) -> tuple[Surrogate, TokenBatch]:
    """The objective after all stages, and the batch with the advantages that the reward stage left."""
    if "reward" in method.stages:
        a = kept_advantages(method.score(rollouts_of(batch), state)[0], mean_of(plain))
        a = (a if a.dim() == 2 else a.unsqueeze(1)).expand_as(batch.advantages_BT).to(batch.advantages_BT.dtype)
        batch, plain = replace(batch, advantages_BT=a), replace(plain, advantages_BT=a)
    return method.apply(plain, replace(batch, whole_step=True), state), batch


def _warmed(method: Chain, batch: TokenBatch, plain: Surrogate) -> tuple:
    """The state after a step on this batch; controllers stay where they start, so that what is seen is the method's."""
    start = method.init()
    _, sums = method.account(plain, replace(batch, whole_step=True), start)
    moved, _ = method.update(start, method.totals(summarize(batch).reduced(), sums))
    return tuple(MethodState(old.knobs, new.memory) for old, new in zip(start, moved, strict=True))


def _at_limits(method: Chain, state: tuple) -> list[tuple]:
    """The states with the one controlled knob at its lowest and at its highest output; none where nothing is controlled."""
    for index, link in enumerate(method.links):
        for knob, controller in link.feedback.items():
            found = []
            for output in controller.limits:
                moved = replace(state[index].knobs[knob], output=max(min(output, 1e9), -1e9))
                own = MethodState({**state[index].knobs, knob: moved}, state[index].memory)
                found.append((*state[:index], own, *state[index + 1 :]))
            return found
    return []


def rollouts_of(batch: TokenBatch) -> Rollouts:
    """A batch as the reward stage sees it: its rows, their rewards and groups, sums of log-probability and entropy."""
    if batch.rewards_B is None or batch.groups_B is None:
        raise DataError("a method of the reward stage needs rewards_B and groups_B in the batch")
    lengths = batch.mask.sum(1)
    old = batch.stats.need("logp") if batch.old_logp_BT is None else batch.old_logp_BT

    def sums(values: Tensor) -> Tensor:
        return values.detach().masked_fill(~batch.mask, 0).sum(1)

    each: dict[Want, Tensor] = {"logp": sums(old), "entropy": sums(batch.stats.need("entropy"))}
    return Rollouts(batch.advantages_BT[:, 0], batch.rewards_B, batch.groups_B, lengths, each, batch.mask)


def _different(before: Tensor, after: Tensor) -> Tensor:
    return (after - before).abs() > _SAME * before.abs().max().clamp_min(1e-30)


def _quadrants(
    batch: TokenBatch, plain: Surrogate, different: Tensor, before: Tensor, after: Tensor
) -> dict[str, Quadrant]:
    a, d = plain.advantages_BT, batch.stats.detach().centered
    tokens = max(int(batch.mask.sum()), 1)
    found = {}
    for name, kind in (quadrants_of(a, d) | {"none": a == 0}).items():
        inside = batch.mask & kind
        flows = [(-push * d).masked_fill(~inside, 0).sum().item() / tokens for push in (before, after)]
        found[name] = Quadrant(int(inside.sum()), int((inside & different).sum()), *flows)
    return found
