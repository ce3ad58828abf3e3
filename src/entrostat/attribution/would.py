"""What each method would have made of a batch: the factor on every token's gradient, whatever method is in use."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from entrostat.control.knob import is_feedback
from entrostat.errors import DataError
from entrostat.methods import Chain, Link, names
from entrostat.methods.cards import example
from entrostat.stats import summarize
from entrostat.types import Summary, Surrogate, TokenBatch


def factor(changed: Surrogate, batch: TokenBatch) -> Tensor:
    """What a changed objective multiplies each token's gradient by, (B, T): weight, dropped tokens, new advantages."""
    advantages = batch.advantages_BT
    result = (changed.advantages_BT / advantages).masked_fill(advantages == 0, 1.0)
    if changed.weight_BT is not None:
        result = result * changed.weight_BT
    if changed.keep_BT is not None:
        result = result.masked_fill(~changed.keep_BT, 0.0)
    return result.detach()


@torch.no_grad()
def would_do(batch: TokenBatch) -> dict[str, tuple[Tensor, list[str]]]:
    """Of every preset that acts on this batch: the factor on each token (B, T), and the names of the terms that it adds.

    A controller's output is taken at the limit that raises the entropy (1, or -1, where it has none). Presets that need
    statistics or rewards which the batch lacks, that refuse it, and those that leave every token as it is, are left out.
    """
    standard = summarize(batch).reduced()
    found = {}
    for name in names():
        method = example(name)
        told = {"rewards": batch.rewards_B is not None, "groups": batch.groups_B is not None}
        if not method.requires <= batch.stats.available() or not all(told.get(n, True) for n in method.needs):
            continue
        try:
            changed = _raised(method, batch, standard)
        except DataError:
            continue  # it refuses this batch, as those of rewards of 0 or 1 refuse any other reward; the run has another
        value = factor(changed, batch)
        terms = [term.name for term in changed.terms]
        if terms or bool((value[batch.mask] != 1).any()):
            found[name] = value, terms
    return found


def _raised(method: Chain, batch: TokenBatch, standard: Summary) -> Surrogate:
    """The objective as the method changes it with its outputs fixed where they raise the entropy most."""
    fixed = replace(method, links=tuple(_at_limit(link) for link in method.links))
    return fixed.step_on(Surrogate("ppo", batch.advantages_BT), batch, fixed.init(), standard)[0]


def _at_limit(link: Link) -> Link:
    fixed = {}
    for name, controller in link.knobs.items():
        if is_feedback(controller):
            low, high = controller.limits
            wanted = high if link.card.knobs[name] == "raise" else low
            fixed[name] = wanted if math.isfinite(wanted) else math.copysign(1.0, wanted)
    return replace(link, **fixed)
