"""How an optimizer step moved the parameters, split by cause.

With its denominators at their actual values, the step of SGD, Adam or AdamW is linear in the gradient g of that step:

    after - before = gain * g + carried + decay                     element by element

    SGD      gain = -lr                            carried = -lr mu buffer_old      decay = -lr wd before
    Adam(W)  gain = -lr (1 - b1) / (c1 denom)      carried = -lr b1 m_old / (c1 denom)
             denom = sqrt(v / c2) + eps,  c1 = 1 - b1^t,  c2 = 1 - b2^t,  v with the square of g in it
             decay = -lr wd before (decoupled), or gain * wd * before (as L2 term in g)

so what a part of g contributes to anything linear in the displacement can be told apart. `carried` is what momentum
brings from earlier steps. g is the gradient that the optimizer saw: after clipping.

Sources: Adam 1412.6980, Algorithm 1; AdamW 1711.05101, Algorithm 2; as torch.optim implements them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from entrostat.errors import ConfigError


@dataclass(frozen=True)
class Move:
    """One parameter's displacement by cause: `gain * gradient + carried + decay`. All of the parameter's shape."""

    gain: Tensor
    carried: Tensor
    decay: Tensor


def parameters_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The trainable parameters of an optimizer, in the order of its groups."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


def can_split(optimizer: torch.optim.Optimizer) -> bool:
    """Whether `moves` knows this optimizer: torch's Adam, AdamW, and SGD without dampening."""
    return _unknown(optimizer) is None


def moves(optimizer: torch.optim.Optimizer, before: Sequence[Tensor]) -> Iterator[Move | None]:
    """The moves of `parameters_of(optimizer)`, one at a time, after `optimizer.step()` and before the gradients are cleared.

    Args:
        before: the parameters' values before the step.

    Yields:
        None for a parameter without a gradient, which the optimizer has left alone.

    Raises:
        ConfigError: an optimizer whose step is not of this form, or that this function does not know.
    """
    if why := _unknown(optimizer):
        raise ConfigError(f"the step of {type(optimizer).__name__} cannot be split by cause: {why}")
    values, by_sgd = iter(before), isinstance(optimizer, torch.optim.SGD)
    decoupled = isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not parameter.requires_grad:
                continue
            value, state = next(values), optimizer.state.get(parameter, {})
            if parameter.grad is None:
                yield None
            elif by_sgd:
                yield _sgd(group, state, parameter.grad, value)
            else:
                yield _adam(group, state, parameter.grad, value, group.get("decoupled_weight_decay", decoupled))


def _unknown(optimizer: torch.optim.Optimizer) -> str | None:
    """Why the optimizer's step cannot be split, or None."""
    # Subclasses override the step: an exact match, not isinstance.
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        return "it is none of torch.optim's Adam, AdamW and SGD"
    if any(group.get("dampening") for group in optimizer.param_groups):
        return "its dampening is not zero"
    return None


def _adam(
    group: Mapping[str, Any], state: Mapping[str, Any], gradient: Tensor, before: Tensor, decoupled: bool
) -> Move:
    beta1, beta2 = (float(beta) for beta in group["betas"])
    lr, decay, step = float(group["lr"]), float(group["weight_decay"]), float(state["step"])
    sign = -1.0 if group["maximize"] else 1.0
    second = state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"]
    rate = (second.sqrt() / math.sqrt(1 - beta2**step)).add_(group["eps"]).reciprocal_().mul_(-lr / (1 - beta1**step))
    if decoupled:
        shrink, seen = (-lr * decay) * before, sign * gradient
    else:
        shrink, seen = (1 - beta1) * decay * rate * before, sign * gradient + decay * before
    carried = rate * (state["exp_avg"] - (1 - beta1) * seen)
    return Move(rate.mul_(sign * (1 - beta1)), carried, shrink)


def _sgd(group: Mapping[str, Any], state: Mapping[str, Any], gradient: Tensor, before: Tensor) -> Move:
    lr, decay, momentum = float(group["lr"]), float(group["weight_decay"]), float(group["momentum"])
    sign = -1.0 if group["maximize"] else 1.0
    seen = sign * gradient + decay * before if decay else sign * gradient
    factor, carried = 1.0, torch.zeros_like(before)
    if momentum:
        brought = state["momentum_buffer"] - seen  # momentum times the old buffer; zero in the first step
        factor = 1 + momentum if group["nesterov"] else 1.0
        carried = (-lr * (momentum if group["nesterov"] else 1.0)) * brought
    gain = torch.full_like(before, -lr * factor * sign)
    return Move(gain, carried, (-lr * factor * decay) * before)
