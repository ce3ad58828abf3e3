"""Authority: the range of entropy change that a method can command on this very batch.

A method changes the loss, and with it how far each sampled token is pushed. To first order, and per unit of step at the
logits, the entropy moves by the mean of (dL/dlogp) D over the tokens (2602.03392, Theorem 2), where tokens that the clip has
stopped push nothing. Evaluated at the lowest and the highest output, that is the range the method has; where the range is
narrow beside the drift, no gain can hold the target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from entrostat.control.effect import Effect, grid
from entrostat.control.knob import reads_effect
from entrostat.methods.base import Link, MethodState
from entrostat.methods.denominators import kept_push, mean_of
from entrostat.stats.summarize import sum_dtype
from entrostat.types import Statistic, Summary, Surrogate, Term, TokenBatch, term_value

# Stands in for an infinite limit: times a flow of 0, infinity would be NaN.
_UNLIMITED = 1e9
REQUIRES = ("logp", "entropy", "baseline")


_PARTS = {"": "tokens", "/rows": "sequences", "/batches": "batches", "/fixed": "fixed"}
"""Ends of the names of `change_sums` -> what each is divided by (`Summary.divisor`)."""


def change_names(names: Iterable[str]) -> tuple[str, ...]:
    """The sums that `change_sums` makes under these names, one of each part."""
    return tuple(name + part for name in names for part in _PARTS)


@torch.no_grad()
def change_sums(name: str, surrogate: Surrogate, batch: TokenBatch, push_BT: Tensor | None = None) -> dict[str, Tensor]:
    """The first-order change of entropy by what the tokens' pushes and the terms do, as sums that add over micro-batches.

    A mean over sequences gives each row one vote (GRPO 2402.03300, Eq. 3), whatever the sizes of the micro-batches: what it
    weighs is added up row by row under `name/rows`. A mean over each micro-batch, of the loss (TRL's bnpo) or of a term, gives
    each of those one vote: its means are added up under `name/batches`. What a loss divides by a number that no token changes
    (Dr. GRPO 2503.20783) is added up under `name/fixed`, apart from its terms, which are means. All else weighs tokens alike
    and is added up under `name`. `change_mean` puts them together.

    A term that is made of another statistic than entropy and importance ratio is left out: its effect is not known.

    Args:
        push_BT: `token_push`, where it is known already.
    """
    dtype = sum_dtype(batch.mask.device)
    centered = batch.stats.detach().centered
    flow_BT = -(kept_push(surrogate, batch, push_BT) * centered).masked_fill(~batch.mask, 0)
    flow, none = flow_BT.sum(dtype=dtype), torch.zeros((), dtype=dtype, device=flow_BT.device)
    sums = dict.fromkeys(_PARTS.values(), none)
    mean = mean_of(surrogate)
    if mean == "sequence":
        sums["sequences"] = (flow_BT.sum(1, dtype=dtype) / batch.mask.sum(1).clamp_min(1)).sum()
    elif mean == "batch":
        sums["batches"] = flow / batch.mask.sum().clamp_min(1)
    else:
        sums["fixed" if mean == "fixed" else "tokens"] = flow
    for term in surrogate.terms:
        if isinstance(term.of, Statistic):
            continue
        change, count = _of_term(term, batch, centered)
        if term.over == "micro":
            sums["batches"] = sums["batches"] + change / count.clamp_min(1)
        else:
            sums["tokens"] = sums["tokens"] + change
    return {name + part: sums[of] for part, of in _PARTS.items()}


def change_mean(name: str, summary: Summary) -> float:
    """The change of mean entropy per unit of step at the logits [nats], from the sums of a step; NaN without tokens."""
    if not summary.tokens:
        return math.nan
    sums = {of: value for part, of in _PARTS.items() if (value := summary.get(name + part))}
    return sum((value / summary.divisor(of) for of, value in sums.items()), 0.0)


def predicted_change(surrogate: Surrogate, batch: TokenBatch, push_BT: Tensor | None = None) -> float:
    """The same of a batch that is a whole optimizer step; 0 without tokens."""
    count = {"tokens": float(batch.mask.sum()), "sequences": float(batch.mask.any(1).sum()), "batches": 1.0}
    sums = {name: float(value) for name, value in change_sums("change", surrogate, batch, push_BT).items()}
    return change_mean("change", Summary(count | sums)) if count["tokens"] else 0.0


def _of_term(term: Term, batch: TokenBatch, centered: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of what a term does to the entropy at its tokens, and how many they are."""
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
    return term.coef * value.masked_fill(~mask, 0).sum(dtype=sum_dtype(mask.device)), mask.sum()


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
        return change_names(["acting", "low", "high", *(f"effect/{index}" for index in range(1, inner + 1))])

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        """The predicted change of entropy at the present, the lowest and the highest output, and at some between."""
        if not self.feedback:
            return {}
        knob, controller = next(iter(self.feedback.items()))
        changed = self.at(surrogate, batch, state)

        low, high = max(controller.limits[0], -_UNLIMITED), min(controller.limits[1], _UNLIMITED)
        outputs = {"acting": state.knobs[knob].output, "low": low, "high": high}
        if reads_effect(controller):
            outputs |= {f"effect/{i}": u for i, u in enumerate(grid(controller.limits)[1:-1], start=1)}
        sums: dict[str, Tensor] = {}
        for name, output in outputs.items():
            sums |= change_sums(name, changed(knob, output), batch)
        return sums

    def effect(self, knob: str, summary: Summary) -> Effect | None:
        return effect(summary, self.knobs[knob])

    def authority(self, summary: Summary) -> dict[str, float]:
        """Predicted entropy change in nats per unit of step at the logits, at the lowest and the highest output."""
        if "low" not in summary.values:
            return {}
        low, high = change_mean("low", summary), change_mean("high", summary)
        return {"authority_low": low, "authority_high": high, "authority": abs(high - low)}


def effect(summary: Summary, controller: Any) -> Effect | None:
    """The effect of this controller's output on the batch, in units of the root mean square of its tokens' A D as a mean over
    tokens weighs them; a loss that divides by another number weighs them by that.

    That makes it a pure number: an optimizer that divides by the size of its gradients keeps to it more nearly than to the
    change itself (docs/self_tuning.md). None where `measure` was not asked for it, where advantages that are
    not finite left no numbers, and where all of them are 0, so that there is no such unit, but the output acts all the same.
    """
    if not reads_effect(controller) or "acting" not in summary.values:
        return None
    outputs = grid(controller.limits)
    names = ["low", *(f"effect/{index}" for index in range(1, len(outputs) - 1)), "high", "acting"]
    size = math.sqrt(summary.mean("flow_sq")) * summary.tokens / summary.divisor("fixed")
    means = [change_mean(name, summary) for name in names]
    if not size and any(means):
        return None
    *changes, acting = (mean / (size or 1.0) for mean in means)
    return Effect(outputs, tuple(changes), acting) if all(map(math.isfinite, (*changes, acting))) else None
