"""Authority: the range of entropy change that a method can command on this very batch.

A method that reweights tokens by w(u) changes the entropy, to first order and per unit of step at the logits, by
-mean(w(u) r A D) (2602.03392, Theorem 2, with the importance ratio r). Evaluated at the lowest and the highest
output, that is the range it has; where the range is narrow beside the drift, no gain can hold the target.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from entrostat.control.effect import Effect, grid
from entrostat.control.knob import is_feedback, reads_effect
from entrostat.methods.base import Link
from entrostat.stats.summarise import sum_dtype
from entrostat.types import Summary, Surrogate, TokenBatch

# Stands in for an infinite limit: times a flow of 0, infinity would be NaN.
_UNLIMITED = 1e9
REQUIRES = frozenset({"logp", "entropy", "baseline"})


@dataclass(frozen=True)
class AuthorityLink(Link):
    """A link whose `apply` adds up `authority_sums`: its controller is told their effect, the log its authority."""

    requires: ClassVar[frozenset[str]] = REQUIRES

    def effect(self, knob: str, summary: Summary) -> Effect | None:
        return effect(summary, self.knobs[knob])

    def report(self, summary: Summary) -> dict[str, float]:
        return report_authority(summary)


@torch.no_grad()
def authority_sums(
    surrogate: Surrogate,
    batch: TokenBatch,
    weight: Callable[[float], Tensor | None],
    controller: Any,
    output: float,
    added: Tensor | float = 0.0,
) -> dict[str, Tensor]:
    """Sums of the predicted entropy change at the present, the lowest and the highest output.

    Args:
        surrogate: as earlier links left it; their weights and dropped tokens count.
        batch: the micro-batch, with `baseline` among its statistics.
        weight: output -> weights (B, T), or None for weights of 1.
        controller: whose limits bound the output; an open-loop knob commands no range. For one that reads the effect of
            its outputs, the change at a few more is added.
        output: the present output.
        added: change per unit of output that comes through no token's weight, summed over the tokens.
    """
    flow = -batch.ratio.detach() * surrogate.advantages_BT * batch.stats.detach().centred
    kept = batch.mask if surrogate.keep_BT is None else batch.mask & surrogate.keep_BT
    flow = flow.masked_fill(~kept, 0).to(sum_dtype(flow.device))
    if surrogate.weight_BT is not None:
        flow = flow * surrogate.weight_BT
    low, high = controller.limits if is_feedback(controller) else (output, output)
    low, high = max(low, -_UNLIMITED), min(high, _UNLIMITED)

    def change(u: float) -> Tensor:
        w = weight(u)
        return (flow.sum() if w is None else (flow * w).sum()) + u * added

    sums = {
        "predicted": change(output),
        "authority/low": change(low),
        "authority/high": change(high),
        "authority/none": flow.sum(),
    }
    if reads_effect(controller):
        sums |= {f"effect/{index}": change(u) for index, u in enumerate(grid(controller.limits)[1:-1], start=1)}
    return sums


def effect(summary: Summary, controller: Any) -> Effect | None:
    """The effect of this controller's output on the batch, in units of the root mean square of its tokens' A D.

    That makes it a pure number: an optimizer that divides by the size of its gradients keeps to it more nearly than to the
    change itself (docs/self_tuning.md). None where `authority_sums` was not told of the controller, where advantages that are
    not finite left no numbers, and where all of them are 0, so that there is no such unit, but the output acts all the same.
    """
    if not reads_effect(controller) or "predicted" not in summary.values:
        return None
    outputs = grid(controller.limits)
    names = [
        "authority/low",
        *(f"effect/{index}" for index in range(1, len(outputs) - 1)),
        "authority/high",
        "predicted",
    ]
    size = math.sqrt(summary.mean("flow_sq"))
    means = [summary.mean(name) for name in names]
    if not size and any(means):
        return None
    *changes, acting = (mean / (size or 1.0) for mean in means)
    return Effect(outputs, tuple(changes), acting) if all(map(math.isfinite, (*changes, acting))) else None


def report_authority(summary: Summary) -> dict[str, float]:
    """Metrics, all as predicted entropy change in nats per unit of step at the logits:

    predicted: of this batch as weighted; uncontrolled: of the same batch without this method;
    authority_low, authority_high: at the lowest and the highest output; authority: the width of that range.
    """
    if "predicted" not in summary.values:
        return {}
    low, high = summary.mean("authority/low"), summary.mean("authority/high")
    return {
        "predicted": summary.mean("predicted"),
        "uncontrolled": summary.mean("authority/none"),
        "authority_low": low,
        "authority_high": high,
        "authority": abs(high - low),
    }
