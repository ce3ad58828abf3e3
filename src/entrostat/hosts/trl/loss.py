"""What each of TRL's losses makes of a method: how a token is weighted, what its clip range means, how it averages.

A token's weight scales the gradient of its log-probability and leaves the value as it is. For a loss that depends on the
policy only through log-probabilities this is the same as weighting the token's own loss, whatever the shape of the advantages:
true of every loss type here, of GMPO and of RLOO. The KL penalty must not be weighted with it; as it depends on
`ref - logp` alone, the reference carries the gradient that undoes the weight.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from entrostat.errors import HostError
from entrostat.types import Mean

Clip = Literal["ratio", "upper", "log", "none", "unknown"]


@dataclass(frozen=True)
class Loss:
    """One of the host's losses.

    Args:
        clip: what `epsilon_low` and `epsilon_high` bound: the ratio to [1 - low, 1 + high]; its upper end, which
            `epsilon_high` names itself (CISPO); its logarithm, to [-low, high] (GMPO); nothing.
        mean: see `types.Mean`.
    """

    name: str
    clip: Clip
    mean: Mean

    def epsilons(self, low: Any, high: Any) -> tuple[Any, Any]:
        """`epsilon_low`, `epsilon_high` of the host that clip the ratio to [1 - low, 1 + high]."""
        if self.clip == "upper":
            return low, 1 + high
        if self.clip == "log":
            return -_log(1 - low), _log(1 + high)
        return low, high

    def range(self, low: float, high: float) -> tuple[float, float]:
        """The inverse of `epsilons`, of the host's own settings; infinite where nothing is clipped."""
        if self.clip == "upper":
            return math.inf, high - 1
        if self.clip == "log":
            return 1 - math.exp(-low), math.exp(high) - 1
        if self.clip in ("none", "unknown"):
            return math.inf, math.inf
        return low, high


def _log(value: Any) -> Any:
    return value.log() if isinstance(value, Tensor) else math.log(max(value, 1e-8))


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("grpo", "ratio", "sequence"),
        Loss("bnpo", "ratio", "batch"),
        Loss("dapo", "ratio", "token"),
        Loss("dr_grpo", "ratio", "fixed"),
        Loss("luspo", "ratio", "fixed"),
        Loss("cispo", "upper", "token"),
        Loss("sapo", "none", "sequence"),
        Loss("vespo", "none", "token"),
        Loss("rloo", "ratio", "fixed"),
        Loss("gmpo", "log", "sequence"),
    )
}


def loss_of(host: Any) -> Loss:
    """The loss that a constructed trainer computes; one of the caller's own is "own", of which nothing is known."""
    for cls in type(host).__mro__:
        if "_compute_loss" not in vars(cls) or cls.__module__.startswith("entrostat."):
            continue
        module = cls.__module__
        if module == "trl.trainer.rloo_trainer":
            return LOSSES["rloo"]
        if module == "trl.trainer.grpo_trainer" and host.loss_type in LOSSES:
            return LOSSES[host.loss_type]
        if module == "trl.experimental.gmpo.gmpo_trainer":
            return LOSSES["gmpo"]
        # A subclass that ends in TRL's own loss is followed to it.
        if not _hands_on(cls):
            return Loss("own", getattr(host, "entropy_clip", "unknown"), "fixed")
    return Loss("own", "unknown", "fixed")


def _hands_on(cls: type) -> bool:
    """Whether a class's `_compute_loss` calls its base's."""
    function = vars(cls)["_compute_loss"]
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return code is not None and {"super", "_compute_loss"} <= set(code.co_names)


_ENDS = {"epsilon": "eps_low", "epsilon_high": "eps_high", "delta": "dual_clip"}
"""TRL's settings of the clip -> the fields of a surrogate."""


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return (grad * factor).to(grad.dtype), None


def scale_gradient(value: Tensor, factor: Tensor) -> Tensor:
    """`value`, to the last bit, with its gradient times `factor` (no gradient goes there)."""
    scaled: Tensor = _ScaleGradient.apply(value, factor)
    return scaled


def weigh(logp: Tensor, weight: Tensor, inputs: dict[str, Any]) -> Tensor:
    """Log-probabilities whose gradient is weighted, while the KL penalty of `inputs` keeps its own."""
    weighted = scale_gradient(logp, weight)
    reference = inputs.get("ref_per_token_logps")
    if reference is not None:
        inputs["ref_per_token_logps"] = reference + (weighted - logp)  # 0, with the gradient that undoes the weight
    return weighted


def clip_given(args: Any, loss: Loss, where: str = "TRL's ") -> dict[str, tuple[str, float]]:
    """The ends of the clip range that somebody has set in TRL's arguments; see `core.host.check_replaced`."""
    plain = {field.name: field.default for field in dataclasses.fields(args)}
    own = {name: value for name in _ENDS if (value := getattr(args, name, None)) not in (None, plain.get(name))}
    low, high = loss.range(own.get("epsilon", 0.0), own.get("epsilon_high", 0.0))
    as_ours: dict[str, Any] = {"epsilon": low, "epsilon_high": high, "delta": own.get("delta")}
    return {_ENDS[name]: (f"{where}{name}={value}", as_ours[name]) for name, value in own.items()}


def check_loss(
    host: Any, loss: Loss, method: Any, weighs: bool, clips: frozenset[str], moved: frozenset[str]
) -> list[str]:
    """Refuse what a loss cannot express; returns what it ignores, for a warning.

    Args:
        weighs: whether the method weights or drops tokens. clips: the ends of the clip range that it writes; moved: those
            that a controller moves.
    """
    name = method.name
    if weighs and getattr(host.args, "use_bias_correction_kl", False) and getattr(host, "beta", 0.0) != 0.0:
        raise HostError(
            f"{name!r} weights tokens, and use_bias_correction_kl=True multiplies the KL penalty by the importance ratio, "
            "which would be weighted too. Set use_bias_correction_kl=False, or beta=0"
        )
    if not clips:
        return []
    if loss.clip == "none":
        raise HostError(
            f"{name!r} changes the clip range, but loss_type={loss.name!r} clips nothing: choose 'dapo', 'grpo', 'bnpo', "
            "'dr_grpo' or 'cispo', or another method"
        )
    if loss.clip == "unknown":
        raise HostError(
            f"{name!r} changes the clip range, but {_owner(host)} computes a loss of its own, which may not read epsilon_low "
            "and epsilon_high. If it clips the ratio to [1 - epsilon_low, 1 + epsilon_high], set in the class: "
            'entropy_clip = "ratio"; otherwise choose another method'
        )
    if loss.clip == "upper" and "eps_low" in moved:
        raise HostError(
            f"{name!r} moves the lower end of the clip range, and loss_type='cispo' has none: move eps_high"
        )
    return ["eps_low"] if loss.clip == "upper" and "eps_low" in clips else []


def _owner(host: Any) -> str:
    owners = (c for c in type(host).__mro__ if "_compute_loss" in vars(c) and not c.__module__.startswith("entrostat."))
    return next(owners, type(host)).__name__
