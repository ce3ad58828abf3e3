"""Objectives for your own training loop: `ppo(batch)` and others make a surrogate, and `loss` evaluates it.

| objective | per-token loss, r the importance ratio | mean |
| --- | --- | --- |
| `ppo` (DAPO) | max(-A r, -A clip(r, 1 - eps_low, 1 + eps_high)) | over tokens |
| `grpo` | the same | over tokens of a sequence, then over sequences |
| `gspo` | the same with the sequence's geometric-mean ratio | as grpo |
| `cispo` | -sg(min(r, 1 + eps_high)) A log p | over tokens |

With a dual clip c, the loss for A < 0 is min(loss, -A c). TRL and verl use their own objectives, not these.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from entrostat.control.numbers import as_float
from entrostat.errors import ConfigError, DataError
from entrostat.methods.step_size import StepSize
from entrostat.types import LARGEST_LOG_RATIO, Objective, Surrogate, TokenBatch
from entrostat.types.checks import refuse_unless

End: TypeAlias = float | Tensor
"""An end of the clip range: one for all tokens, or one of each."""

_ROUNDED = 1e-3  # a log-probability of 0, rounded upward


def ppo(batch: TokenBatch, eps_low: End = 0.2, eps_high: End = 0.2, dual_clip: float | None = None) -> Surrogate:
    """Clipped importance-weighted objective with a mean over tokens (PPO 1707.06347; DAPO 2503.14476, Eq. 8)."""
    return _objective("ppo", batch, eps_low, eps_high, dual_clip)


def grpo(batch: TokenBatch, eps_low: End = 0.2, eps_high: End = 0.2, dual_clip: float | None = None) -> Surrogate:
    """The clipped objective with a mean over sequences of means over tokens (GRPO 2402.03300, Eq. 3)."""
    return _objective("grpo", batch, eps_low, eps_high, dual_clip)


def gspo(batch: TokenBatch, eps_low: End = 3e-4, eps_high: End = 4e-4) -> Surrogate:
    """The clipped objective on the sequence's geometric-mean ratio (GSPO 2507.18071, Eqs. 5 and 7)."""
    return _objective("gspo", batch, eps_low, eps_high)


def cispo(batch: TokenBatch, eps_high: End = 4.0) -> Surrogate:
    """The ratio is clipped and stopped, every token keeps its gradient (CISPO 2506.13585, Eq. 4)."""
    return _objective("cispo", batch, 1.0, eps_high)


def _objective(
    name: Objective, batch: TokenBatch, eps_low: End, eps_high: End, dual_clip: float | None = None
) -> Surrogate:
    """The surrogate of a batch; `ConfigError` for a wrong clip, `DataError` for wrong old log-probabilities."""
    check_kinds(batch)
    for which, end in (("eps_low", eps_low), ("eps_high", eps_high)):
        if not isinstance(end, Tensor) and ((found := as_float(end)) is None or not found >= 0):
            raise ConfigError(
                f"{which} must be a number, zero or more (the ratio is clipped to [1 - eps_low, 1 + eps_high]), or a tensor of "
                f"them for each token, got {end!r}"
            )
    if dual_clip is not None and ((found := as_float(dual_clip)) is None or not found > 1):
        raise ConfigError(f"dual_clip must be a ratio above 1, or None for no second clip, got {dual_clip!r}")
    _check_old(batch)
    return Surrogate(name, batch.advantages_BT, eps_low=eps_low, eps_high=eps_high, dual_clip=dual_clip)


def _check_old(batch: TokenBatch) -> None:
    """Refuse old log-probabilities whose mean is above zero: probabilities, or losses of each token."""
    if batch.old_logp_BT is None or torch.compiler.is_compiling():
        return
    mean = batch.old_logp_BT.detach().masked_fill(~batch.mask, 0).sum() / batch.mask.sum().clamp_min(1)
    refuse_unless(
        ~(mean > _ROUNDED),
        "old_logp_BT must hold log-probabilities, which are zero or less",
        lambda: (
            f": their mean is {float(mean):.4g}. Take the logarithm of probabilities, or the negative of a cross-entropy"
        ),
    )


def check_kinds(batch: Any, surrogate: Any = None) -> None:
    """Refuse arguments in the wrong order, or of another kind."""
    for name, value, kind in (("batch", batch, TokenBatch), ("surrogate", surrogate, Surrogate)):
        if (value is not None and not isinstance(value, kind)) or (name == "batch" and value is None):
            raise DataError(
                f"{name} must be a {kind.__name__}, got an object of the class {type(value).__name__}: the order is "
                "surrogate = control.apply(es.ppo(batch), batch), then es.loss(surrogate, batch)"
            )


def _clip(ratio: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    floor, ceiling = (torch.as_tensor(end, dtype=ratio.dtype, device=ratio.device) for end in (1 - low, 1 + high))
    return torch.minimum(torch.maximum(ratio, floor), ceiling)


def _change(surrogate: Surrogate, batch: TokenBatch) -> Tensor:
    """log r of each token, (B, T).

    For `gspo` the value is the row's mean and the gradient the token's own (GSPO-token, Section 4.3). This equals GSPO if all
    tokens of a row have the same weight; otherwise each token's weight acts on that token alone.
    """
    change = batch.log_ratio
    if surrogate.objective != "gspo":
        return change
    mean = change.detach().sum(1, keepdim=True) / batch.mask.sum(1, keepdim=True).clamp_min(1)
    return change - change.detach() + mean


def token_loss(surrogate: Surrogate, batch: TokenBatch) -> Tensor:
    """The weighted loss of each token, (B, T), before any mean; differentiable in `batch.stats.logp`."""
    advantages = surrogate.advantages_BT.detach().masked_fill(~batch.mask, 0)
    change = _change(surrogate, batch)
    ratio = change.exp()
    if surrogate.form is not None:
        ends = surrogate.eps_low, surrogate.eps_high
        loss = surrogate.form.loss(change, advantages, *ends, surrogate.dual_clip)
    elif surrogate.objective == "cispo":
        capped = _clip(ratio, surrogate.eps_low, surrogate.eps_high).detach()
        loss = -capped * advantages * batch.stats.need("logp").masked_fill(~batch.mask, 0)
    else:
        clipped = _clip(ratio, surrogate.eps_low, surrogate.eps_high)
        loss = torch.maximum(-advantages * ratio, -advantages * clipped)
        if surrogate.dual_clip is not None:
            bounded = torch.minimum(loss, -advantages * surrogate.dual_clip)
            loss = torch.where(advantages < 0, bounded, loss)
    if surrogate.stopped_BT is not None:
        loss = torch.where(surrogate.stopped_BT, loss.detach(), loss)
    if batch.stale_B is not None:
        loss = loss.masked_fill(batch.stale_B.unsqueeze(1) & (advantages < 0), 0)
    if batch.host_weight_BT is not None:
        loss = loss * batch.host_weight_BT.detach()
    return loss if surrogate.weight_BT is None else loss * surrogate.weight_BT


@torch.no_grad()
def token_push(surrogate: Surrogate, batch: TokenBatch) -> Tensor:
    """-dL/dlogp of each sampled token before any mean, (B, T), without gradient: how far the loss pushes its log-probability up.

    r A if no clip has stopped it, times the method's and the host's weight; 0 if the token was dropped or stopped. For `gspo` r
    is the sequence's ratio, for `cispo` the capped one. A `form` is differentiated.
    """
    advantages = surrogate.advantages_BT.masked_fill(~batch.mask, 0)
    change = _change(surrogate, batch)
    low, high, dual = surrogate.eps_low, surrogate.eps_high, surrogate.dual_clip
    if surrogate.form is not None:
        with torch.enable_grad():
            leaf = change.clone().requires_grad_()
            (slope,) = torch.autograd.grad(surrogate.form.loss(leaf, advantages, low, high, dual).sum(), leaf)
        push = -slope
    else:
        ratio = change.exp()
        if surrogate.objective == "cispo":
            push = _clip(ratio, low, high) * advantages
        else:
            stopped = torch.where(advantages > 0, ratio > 1 + high, ratio < 1 - low)
            if dual is not None:
                stopped = stopped | ((advantages < 0) & (ratio > dual))
            push = (ratio * advantages).masked_fill(stopped, 0)
        push = push.masked_fill(change.abs() >= LARGEST_LOG_RATIO, 0)
    if surrogate.stopped_BT is not None:
        push = push.masked_fill(surrogate.stopped_BT, 0)
    if batch.stale_B is not None:
        push = push.masked_fill(batch.stale_B.unsqueeze(1) & (advantages < 0), 0)
    if surrogate.keep_BT is not None:
        push = push.masked_fill(~surrogate.keep_BT, 0)
    if batch.host_weight_BT is not None:
        push = push * batch.host_weight_BT
    return push if surrogate.weight_BT is None else push * surrogate.weight_BT


def loss(surrogate: Surrogate, batch: TokenBatch, step: StepSize | None = None) -> Tensor:
    """The surrogate as one differentiable number: its mean over this micro-batch, plus its terms.

    With `step` it is this micro-batch's part of the mean over the whole optimizer step, so that the gradients of the
    micro-batches add up to that of the step in one batch. If tokens are dropped, the kept tokens of a micro-batch stand for all
    of its tokens.

    An empty mask gives 0 with a gradient of 0.

    Raises:
        DataError: the loss is not a finite number although the batch has tokens; arguments of another kind.
    """
    check_kinds(batch, surrogate)
    if step is not None and not isinstance(step, StepSize):
        raise DataError(
            f"step must be an es.StepSize, as StepSize.of(micro.mask_BT for micro in step) makes one, got {step!r}"
        )
    per_token = token_loss(surrogate, batch)
    mask = batch.mask if surrogate.keep_BT is None else batch.mask & surrogate.keep_BT
    per_token = per_token.masked_fill(~mask, 0)
    tokens, sequences = batch.mask.sum(), batch.mask.any(1).sum()
    if surrogate.objective in ("grpo", "gspo"):
        rows = per_token.sum(1) / mask.sum(1).clamp_min(1)
        total = rows.sum() / mask.any(1).sum().clamp_min(1)
        share = 1.0 if step is None else sequences.to(total.dtype) / max(step.sequences, 1)
    else:
        total = per_token.sum() / mask.sum().clamp_min(1)
        share = 1.0 if step is None else tokens.to(total.dtype) / max(step.tokens, 1)
    total = total * share
    for term in surrogate.terms:
        if step is None:
            total = total + term.loss(batch)
        elif term.over == "step":
            total = total + term.sum(batch) / max(step.tokens, 1)
        else:
            total = total + term.loss(batch) / max(step.batches, 1)
    if not torch.isfinite(total.detach()):
        raise DataError(f"the loss is {total.item()}: look for NaN in logits, advantages or old log-probabilities")
    return total
