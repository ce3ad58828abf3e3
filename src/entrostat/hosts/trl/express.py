"""How what a method makes of an objective becomes TRL's: its own knobs where it has them, weighted gradients elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from entrostat.core.host import FIELDS, Host
from entrostat.errors import HostError
from entrostat.hosts.trl.loss import Loss, weigh
from entrostat.hosts.trl.push import Capped, GeometricMean, SoftGate, WholeRow, gamma_of
from entrostat.hosts.trl.rollouts import ADVANTAGES
from entrostat.hosts.trl.tempered import one_temperature
from entrostat.methods.denominators import kept_push, token_factor
from entrostat.types import Surrogate, TokenBatch


def host_of(trainer: Any, loss: Loss) -> Host:
    """What this trainer can express, checked against the method at construction."""
    name = f"{type(trainer).__name__.removeprefix('Controlled')} with the loss {loss.name!r}"
    return host_with(name, loss, _carries(trainer, loss), hasattr(trainer.args, "delta"), one_temperature(trainer))


def host_with(
    name: str, loss: Loss, carries: bool | None = None, delta: bool = True, untempered: str | None = None
) -> Host:
    """What TRL can express with a loss.

    Args:
        carries: whether the loss of a token can carry any push on its log-probability; by default as in TRL's own settings.
        delta: whether the trainer has TRL's second clip.
        untempered: why it cannot sample groups at temperatures of their own.
    """
    carries = _clips_tokens(loss) if carries is None else carries
    lacking: dict[str, str] = {}
    if not carries:
        lacking["form"] = (
            "only loss types that clip the ratio of single tokens ('grpo', 'dapo', 'bnpo', 'dr_grpo', "
            "importance_sampling_level='token', no off_policy_mask_threshold) can carry another loss of a token"
        )
    if not carries or not delta:
        lacking["dual_clip"] = "it has no second clip (TRL's delta) on the ratio of single tokens"
    if untempered is not None:
        lacking["group_temperatures"] = untempered
    return Host(name, fields=frozenset(FIELDS) - lacking.keys(), why=lacking)


def _carries(trainer: Any, loss: Loss) -> bool:
    """Whether the loss of a token is, without its clip, -r A: it can then carry any push on the token's log-probability."""
    level = getattr(trainer, "importance_sampling_level", "token")
    masked = getattr(trainer, "off_policy_mask_threshold", None) is not None
    return _clips_tokens(loss) and level == "token" and not masked


def _clips_tokens(loss: Loss) -> bool:
    return loss.clip == "ratio" and loss.name not in ("rloo", "own")


def objective_of(trainer: Any, loss: Loss, batch: TokenBatch, inputs: dict[str, Any]) -> Surrogate:
    """The trainer's own objective of a micro-batch, as a method sees it."""
    args = trainer.args
    low, high = loss.range(trainer.epsilon_low, trainer.epsilon_high)
    plain = Surrogate("ppo", batch.advantages_BT, eps_low=low, eps_high=high, mean=loss.mean)
    free = replace(plain, eps_low=1.0, eps_high=math.inf)
    sequence = getattr(trainer, "importance_sampling_level", "token") == "sequence"
    if loss.name == "rloo":
        logps = (batch.stats.need("logp").detach() * batch.mask).sum(1)
        return replace(plain, form=WholeRow((logps - inputs["old_logps"]).exp().unsqueeze(1)))
    if loss.clip == "upper":
        plain = replace(plain, objective="cispo", eps_low=1.0)
        return replace(plain, objective="gspo", form=Capped()) if sequence else plain
    if loss.name == "sapo":
        gates = SoftGate(args.sapo_temperature_pos, args.sapo_temperature_neg)
        return replace(free, objective="gspo" if sequence else "ppo", form=gates)
    if loss.name == "vespo":
        return replace(free, form=gamma_of(trainer, batch.stats.need("logp").detach(), batch.mask, inputs))
    if loss.name == "gmpo":
        return replace(plain, form=GeometricMean(batch.mask.sum(1, keepdim=True)))
    if loss.clip in ("none", "unknown"):
        return free
    if sequence:
        plain = replace(plain, objective="gspo")
    delta = getattr(args, "delta", None)
    if delta is not None and delta < 1 + high:
        # It bounds what positive advantages push, and of negative ones the wider of the two bounds is in force.
        return replace(plain, eps_high=delta - 1, dual_clip=1 + high)
    return replace(plain, dual_clip=delta)


def express(
    trainer: Any,
    loss: Loss,
    plain: Surrogate,
    changed: Surrogate,
    batch: TokenBatch,
    inputs: dict[str, Any],
    logp: Tensor,
) -> Tensor:
    """Set the trainer's clip range and advantages as the method wants them; returns the log-probabilities for its loss.

    Raises:
        HostError: a token without an advantage of the host's is given one, under a loss that cannot carry it.
    """
    weight = token_factor(changed, batch)
    if changed.stopped_BT is not None and changed.stopped_BT is not plain.stopped_BT:
        weight = (1.0 if weight is None else weight) * (~changed.stopped_BT).to(logp.dtype)
    ends = changed.eps_low, changed.eps_high
    if any(end is not own for end, own in zip(ends, (plain.eps_low, plain.eps_high), strict=True)):
        trainer.epsilon_low, trainer.epsilon_high = _alike(*loss.epsilons(*ends))
    if changed.dual_clip is not plain.dual_clip:
        trainer.args.delta = changed.dual_clip
    own = inputs["advantages"]
    own_BT = (own if own.dim() == 2 else own.unsqueeze(1)).expand_as(batch.mask)
    if changed.form is not plain.form:
        weight = _carry(trainer, loss, changed, batch, inputs)
    elif (changed.advantages_BT is not plain.advantages_BT or ADVANTAGES in inputs) and not torch.equal(
        changed.advantages_BT * batch.mask, own_BT * batch.mask
    ):
        rows = _one_a_row(changed.advantages_BT, batch.mask)
        if rows is not None:
            inputs["advantages"] = rows
        elif _carries(trainer, loss):
            weight = _carry(trainer, loss, changed, batch, inputs)
        else:
            weight = (1.0 if weight is None else weight) * _quotient(changed.advantages_BT, own_BT, batch.mask, loss)
    return logp if weight is None else weigh(logp, weight, inputs)


def restoring(trainer: Any) -> dict[str, Any]:
    """What `express` may change of the trainer."""
    kept = {"epsilon_low": trainer.epsilon_low, "epsilon_high": trainer.epsilon_high}
    return kept | ({"delta": trainer.args.delta} if hasattr(trainer.args, "delta") else {})


def restore(trainer: Any, kept: dict[str, Any]) -> None:
    """Undo what `express` changed."""
    trainer.epsilon_low, trainer.epsilon_high = kept["epsilon_low"], kept["epsilon_high"]
    if "delta" in kept:
        trainer.args.delta = kept["delta"]


def _one_a_row(advantages_BT: Tensor, mask: Tensor) -> Tensor | None:
    """The advantages as one of each row, (B,); None where tokens of a row differ."""
    first = advantages_BT.gather(1, mask.int().argmax(1, keepdim=True))
    same = ((advantages_BT == first) | ~mask).all()
    return first.squeeze(1) if bool(same) else None


def _carry(trainer: Any, loss: Loss, changed: Surrogate, batch: TokenBatch, inputs: dict[str, Any]) -> Tensor:
    """The weights under which TRL's loss, with advantages of 1 and without its clip, pushes each token as the method wants."""
    trainer.epsilon_low, trainer.epsilon_high = 1.0, math.inf
    if hasattr(trainer.args, "delta"):
        trainer.args.delta = None
    inputs["advantages"] = torch.ones_like(batch.advantages_BT[:, 0])
    # TRL goes on to multiply by its own weight.
    return kept_push(changed, replace(batch, host_weight_BT=None)) / batch.ratio.detach()


def _quotient(changed_BT: Tensor, own_BT: Tensor, mask: Tensor, loss: Loss) -> Tensor:
    new = (own_BT == 0) & (changed_BT != 0) & mask
    if bool(new.any()):
        raise HostError(
            f"the method gives {int(new.sum())} tokens an advantage of their own where TRL's is 0, but the loss {loss.name!r} "
            "takes one advantage per sequence: use loss_type 'dapo', 'grpo', 'bnpo' or 'dr_grpo' with "
            "importance_sampling_level='token'"
        )
    return torch.where(own_BT == 0, torch.ones_like(own_BT), changed_BT / own_BT)


def _alike(low: float | Tensor, high: float | Tensor) -> tuple[Any, Any]:
    """Both as numbers or both as tensors: torch.clamp takes no mixture."""
    for like in (low, high):
        if isinstance(like, Tensor):
            return torch.as_tensor(low).to(like), torch.as_tensor(high).to(like)
    return low, high
