"""Authority: the range of entropy change that a method can command on this very batch.

A method changes the loss, and with it how far each sampled token is pushed. To first order, and per unit of step at the
logits, the entropy moves by the mean of (dL/dlogp) D over the tokens (2602.03392, Theorem 2), where tokens that the clip has
stopped push nothing. Evaluated at the lowest and the highest output, that is the range the method has; where the range is
narrow beside the drift, no gain can hold the target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from entrostat.control.effect import Effect, grid
from entrostat.control.knob import reads_effect
from entrostat.methods.base import Link, MethodState
from entrostat.methods.denominators import step_push
from entrostat.stats.summarize import sum_dtype
from entrostat.types import Statistic, Summary, Surrogate, Term, TokenBatch, term_value

# Stands in for an infinite limit: times a flow of 0, infinity would be NaN.
_UNLIMITED = 1e9
REQUIRES = ("logp", "entropy", "baseline")


@torch.no_grad()
def predicted_change(surrogate: Surrogate, batch: TokenBatch) -> Tensor:
    """The first-order change of entropy, summed over the tokens: what their pushes and the terms do [nats x tokens].

    Divided by the batch's tokens it is the change per unit of step at the logits, with each token weighed as the loss's mean
    weighs it, and what dropped tokens leave to the kept ones. Micro-batches of one step count by their tokens.

    A term that is made of another statistic than entropy and importance ratio is left out: its effect is not known.
    """
    dtype = sum_dtype(batch.mask.device)
    centered = batch.stats.detach().centered
    change = -(step_push(surrogate, batch) * centered).masked_fill(~batch.mask, 0).sum(dtype=dtype)
    for term in surrogate.terms:
        if not isinstance(term.of, Statistic):
            change = change + _of_term(term, batch, centered).to(dtype)
    return change


def _of_term(term: Term, batch: TokenBatch, centered: Tensor) -> Tensor:
    mask = term.mask_BT.bool() & batch.mask
    if term.of == "entropy":
        # The step follows the entropy's own gradient, -S; the sampled token k tells |S|^2 without bias: it is the mean of
        # p_k (H + log p_k)^2 over k.
        stats = batch.stats
        value = -batch.ratio * stats.prob * (stats.need("entropy") + stats.need("logp")).square()
    else:
        with torch.enable_grad():
            leaf = batch.log_ratio.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(term_value(str(term.of), leaf, None, term.reference_BT).sum(), leaf)
        value = slope * centered
    if term.factor_BT is not None:
        value = value * term.factor_BT
    dtype = sum_dtype(mask.device)
    scale = batch.mask.sum().to(dtype) / mask.sum().clamp_min(1) if term.over == "micro" else 1.0
    return term.coef * value.masked_fill(~mask, 0).sum(dtype=dtype) * scale


@dataclass(frozen=True)
class AuthorityLink(Link):
    """A link whose one controlled knob acts through what `predicted_change` knows: the controller is told its effect, the log
    its authority. Its card wants `REQUIRES`.
    """

    def at(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Callable[[str, float], Surrogate]:
        """(knob, output) -> the objective as this link changes it at that output; a subclass may save work here."""

        def changed(knob: str, output: float) -> Surrogate:
            there = replace(state.knobs[knob], output=output)
            return self.apply(surrogate, batch, MethodState({**state.knobs, knob: there}, state.memory))

        return changed

    @property
    def authority_sums(self) -> tuple[str, ...]:
        """The names of what `measure` adds up for it: nothing where no measurement moves a knob."""
        if not self.feedback:
            return ()
        (controller,) = tuple(self.feedback.values())[:1]
        inner = len(grid(controller.limits)) - 2 if reads_effect(controller) else 0
        return ("acting", "low", "high", *(f"effect/{index}" for index in range(1, inner + 1)))

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        """The predicted change of entropy at the present, the lowest and the highest output, and at some between."""
        if not self.feedback:
            return {}
        knob, controller = next(iter(self.feedback.items()))
        changed = self.at(surrogate, batch, state)

        def change(output: float) -> Tensor:
            return predicted_change(changed(knob, output), batch)

        low, high = max(controller.limits[0], -_UNLIMITED), min(controller.limits[1], _UNLIMITED)
        sums = {"acting": change(state.knobs[knob].output), "low": change(low), "high": change(high)}
        if reads_effect(controller):
            sums |= {f"effect/{i}": change(u) for i, u in enumerate(grid(controller.limits)[1:-1], start=1)}
        return sums

    def effect(self, knob: str, summary: Summary) -> Effect | None:
        return effect(summary, self.knobs[knob])

    def authority(self, summary: Summary) -> dict[str, float]:
        """Predicted entropy change in nats per unit of step at the logits, at the lowest and the highest output."""
        if "low" not in summary.values:
            return {}
        low, high = summary.mean("low"), summary.mean("high")
        return {"authority_low": low, "authority_high": high, "authority": abs(high - low)}


def effect(summary: Summary, controller: Any) -> Effect | None:
    """The effect of this controller's output on the batch, in units of the root mean square of its tokens' A D.

    That makes it a pure number: an optimizer that divides by the size of its gradients keeps to it more nearly than to the
    change itself (docs/self_tuning.md). None where `measure` was not asked for it, where advantages that are
    not finite left no numbers, and where all of them are 0, so that there is no such unit, but the output acts all the same.
    """
    if not reads_effect(controller) or "acting" not in summary.values:
        return None
    outputs = grid(controller.limits)
    names = ["low", *(f"effect/{index}" for index in range(1, len(outputs) - 1)), "high", "acting"]
    size = math.sqrt(summary.mean("flow_sq"))
    means = [summary.mean(name) for name in names]
    if not size and any(means):
        return None
    *changes, acting = (mean / (size or 1.0) for mean in means)
    return Effect(outputs, tuple(changes), acting) if all(map(math.isfinite, (*changes, acting))) else None
