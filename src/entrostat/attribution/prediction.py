"""What an optimizer step does to the entropy, in parameter space: the gradient of the entropy times the actual step.

The logit-level theory (`first_order`) leaves one factor open, how a step at the logits becomes one of shared parameters under
this optimizer. Here nothing is left open. With H(theta) the mean entropy of the step's own tokens and delta the displacement
that the optimizer really made, preconditioned, with momentum, weight decay and clipped gradients,

    predicted  = <grad H(before), delta>                                           error O(|delta|^2)
    integrated = <G, delta>,   G = int_0^1 grad H(before + s delta) ds             error O(|delta|^(2n + 1)), n nodes

The first is the first-order prediction; the second, exact but for its quadrature, is for the account of steps too long
for the first. Since delta = gain * g + carried + decay (`displacement`) with g = clip * sum_t (a_t grad logp_t +
b_t grad H_t), where a_t and b_t are the loss's derivatives by a token's log-probability and entropy, token t contributes

    clip * (a_t <c, grad logp_t> + b_t <c, grad H_t>),        c = gain * grad H(before), or gain * G.

Groups of tokens (quadrants, samples, prompts) are sums of these (`shares`), and with what momentum carried over and the
decay they add up to the prediction; `rest` is what rounding and finite differences leave, and whatever reaches the
parameters other than through logp and entropy.

    look = before_step([MicroBatch(...), ...], optimizer)      # after the last backward, before clipping
    optimizer.step()
    print(look.after_step().metrics())                         # before the gradients are cleared

`docs/prediction.md` has the derivations, and what was measured.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from entrostat.attribution.displacement import can_split, moves, parameters_of
from entrostat.attribution.recompute import MicroBatch, Recomputation, Reduce, dot, masked, norm, wide
from entrostat.attribution.shares import BONUS, NEUTRAL, by_backward, by_difference
from entrostat.attribution.visited import visited_change
from entrostat.errors import ConfigError
from entrostat.stats.summarize import QUADRANTS
from entrostat.types import TokenStats

# Gauss-Legendre on [0, 1]: places and weights.
_GAUSS = {
    1: [(0.5, 1.0)],
    2: [(0.5 - 3**-0.5 / 2, 0.5), (0.5 + 3**-0.5 / 2, 0.5)],
    3: [(0.5 - 0.6**0.5 / 2, 5 / 18), (0.5, 8 / 18), (0.5 + 0.6**0.5 / 2, 5 / 18)],
}


@dataclass(frozen=True)
class StepPrediction:
    """The change of the mean entropy of one step's tokens, predicted and measured. All in nats per token.

    Attributes:
        before, after: mean entropy of the same tokens under the parameters before and after the step.
        predicted: first-order change for the actual displacement.
        integrated: the change by quadrature along the displacement; None unless asked for.
        logit_level: the flow -mean(r A w D), the logit-level theory's change per unit of step at the logits.
        quadrants: what the gradients of each quadrant's log-probabilities contribute, by the names of
            `stats.summarize.QUADRANTS`; D = 0 counts as unlikely. Empty where the optimizer's step cannot be split.
        neutral: contribution of the log-probabilities of tokens without advantage (a KL penalty acts on them).
        bonus: contribution of the entropy terms in the loss.
        carried: what momentum brought from earlier steps; decay: weight decay.
        rest: predicted, or integrated where that was asked for, minus all of these.
        prompts: contribution of each prompt's tokens, log-probability and entropy terms together; empty without labels.
        visited_states, visited_error: see `visited.visited_change`; None unless asked for.
    """

    before: float
    after: float
    predicted: float
    logit_level: float
    integrated: float | None = None
    quadrants: Mapping[str, float] = field(default_factory=dict)
    neutral: float = 0.0
    bonus: float = 0.0
    carried: float = 0.0
    decay: float = 0.0
    rest: float = 0.0
    prompts: Mapping[Hashable, float] = field(default_factory=dict)
    visited_states: float | None = None
    visited_error: float | None = None

    @property
    def measured(self) -> float:
        """The change of the same tokens' mean entropy."""
        return self.after - self.before

    @property
    def positive(self) -> float:
        """Contribution of the samples with positive advantage."""
        return sum(value for name, value in self.quadrants.items() if QUADRANTS[name][0])

    @property
    def negative(self) -> float:
        """Contribution of the samples with negative advantage."""
        return sum(value for name, value in self.quadrants.items() if not QUADRANTS[name][0])

    def metrics(self) -> dict[str, float]:
        """By name, for a log; what was not computed is absent."""
        names = ["before", "predicted", "logit_level", "integrated", "visited_states", "visited_error"]
        if self.quadrants:
            names += ["positive", "negative", "neutral", "bonus", "carried", "decay", "rest"]
        found = {name: value for name in names if (value := getattr(self, name)) is not None}
        return {"measured_same_batch": self.measured} | found | dict(self.quadrants)


def predicted_change(gradient: Sequence[Tensor], before: Sequence[Tensor], parameters: Iterable[Tensor]) -> float:
    """<gradient, parameters - before>, added up in fp64 where the device has it."""
    return sum(dot(g, p.detach() - b) for g, p, b in zip(gradient, parameters, before, strict=True))


def before_step(
    batches: Sequence[MicroBatch],
    optimizer: torch.optim.Optimizer,
    reduce: Reduce | None = None,
    processes: int = 1,
) -> Look:
    """Look at an optimizer step before it is made: after its last backward, before its gradients are clipped.

    Costs one forward and one backward pass, and the memory of two copies of the parameters until `Look.after_step` is
    done, which needs two more, or four with `nodes`.

    Args:
        batches: all micro-batches of the step, on this rank.
        optimizer: torch's own, not a wrapper.
        reduce, processes: as in `Recomputation`.

    Raises:
        DataError: no micro-batch holds a token.
    """
    recomputed = Recomputation(batches, parameters_of(optimizer), reduce, processes)
    length = norm([p.grad for p in recomputed.parameters])
    entropy, gradient, stats = recomputed.entropy_gradient()
    return Look(
        recomputed, optimizer, length, entropy, gradient, stats, [p.detach().clone() for p in recomputed.parameters]
    )


@dataclass(frozen=True)
class Look:
    """What `before_step` saw; `after_step` completes it.

    Attributes:
        length: norm of the gradients before clipping.
        entropy, gradient, stats: mean entropy, its gradient, the tokens' statistics.
        before: copies of the parameters.
    """

    recomputed: Recomputation
    optimizer: torch.optim.Optimizer
    length: float
    entropy: float
    gradient: list[Tensor]
    stats: list[TokenStats]
    before: list[Tensor]

    def after_step(
        self,
        shares: Literal["difference", "backward"] | None = "difference",
        nodes: int = 0,
        visited_states: bool = False,
    ) -> StepPrediction:
        """The prediction and its account, after `optimizer.step()` and before the gradients are cleared.

        Parameters and gradients are left as they are, to the last bit.

        Args:
            shares: "difference" takes two to eight forward passes; it needs parameters and arithmetic in fp32 or better.
                "backward" takes a forward and a backward pass for each of six groups, holds in any precision, and
                cannot tell prompts apart. None leaves the account out; so does an optimizer without `can_split`.
            nodes: integrate along the displacement with so many nodes, 1 to 3, and make the account of that change; each
                costs a forward and a backward pass. 0: first order alone.
            visited_states: also the change through the states that the policy visits; costs nothing.

        Raises:
            ConfigError: another number of nodes.
        """
        recomputed, gradient = self.recomputed, self.gradient
        late = recomputed.evaluate()
        predicted = predicted_change(gradient, self.before, recomputed.parameters)
        integrated = None
        if nodes:
            gradient = self._along_the_step(nodes)
            integrated = predicted_change(gradient, self.before, recomputed.parameters)
        visited: tuple[float | None, float | None] = (None, None)
        if visited_states:
            pairs = [(b.mask_BT, b.prompts, s, a) for b, s, a in zip(recomputed.batches, self.stats, late, strict=True)]
            visited = visited_change(pairs, self.entropy, recomputed.reduce)
        total = predicted if integrated is None else integrated
        return StepPrediction(
            before=self.entropy,
            after=recomputed.mean([stats.need("entropy") for stats in late])[0],
            predicted=predicted,
            logit_level=self._flow(),
            integrated=integrated,
            visited_states=visited[0],
            visited_error=visited[1],
            **self._account(gradient, total, shares) if shares and can_split(self.optimizer) else {},
        )

    def _along_the_step(self, nodes: int) -> list[Tensor]:
        """The entropy's gradient, averaged over the way from before to after."""
        if nodes not in _GAUSS:
            raise ConfigError(f"nodes must be 0, 1, 2 or 3, got {nodes!r}")
        way = [p.detach() - b for p, b in zip(self.recomputed.parameters, self.before, strict=True)]
        total = [torch.zeros_like(b) for b in self.before]
        for place, weight in _GAUSS[nodes]:
            with self.recomputed.moved(self.before, way, place):
                _, gradient, _ = self.recomputed.entropy_gradient()
            for into, part in zip(total, gradient, strict=True):
                into.add_(part, alpha=weight)
        return total

    def _account(self, gradient: Sequence[Tensor], total: float, shares: str) -> dict[str, Any]:
        direction, carried, decay = self._split(gradient)
        clip = norm([p.grad for p in self.recomputed.parameters]) / self.length if self.length else 1.0
        known = (self.recomputed, self.before, self.stats, direction, clip / self.recomputed.processes)
        prompts: dict[Hashable, float] = {}
        if shares == "difference":
            groups, prompts = by_difference(*known)
        else:
            groups = by_backward(*known)
        return dict(
            quadrants={name: groups[name] for name in QUADRANTS},
            neutral=groups[NEUTRAL],
            bonus=groups[BONUS],
            carried=carried,
            decay=decay,
            rest=total - sum(groups.values()) - carried - decay,
            prompts=prompts,
        )

    def _split(self, gradients: Sequence[Tensor]) -> tuple[list[Tensor], float, float]:
        """c = gain * gradient, and what momentum and decay do to the entropy."""
        direction, carried, decay = [], 0.0, 0.0
        steps = zip(gradients, self.recomputed.parameters, moves(self.optimizer, self.before), strict=True)
        for gradient, parameter, move in steps:
            if move is None or parameter.grad is None:
                direction.append(torch.zeros_like(gradient))
                continue
            carried += dot(gradient, move.carried)
            decay += dot(gradient, move.decay)
            # No token of the loss reaches a parameter without gradient; its gain, 1 / eps after Adam, would only swamp
            # the direction.
            direction.append((move.gain * gradient).masked_fill_(parameter.grad == 0, 0))
        return direction, carried, decay

    def _flow(self) -> float:
        """sum of a_t D_t: the mean flow of the tokens as the loss weighs them."""
        total = 0.0
        for batch, stats in zip(self.recomputed.batches, self.stats, strict=True):
            centered = stats.centered
            total += float(masked(batch.push_logp_BT.to(wide(centered)) * centered, batch).sum())
        return self.recomputed.summed({"flow": total})["flow"] / self.recomputed.processes
