"""verl's policy losses, `actor.policy_loss.loss_mode`: what of a method each of them carries out, as verl 0.9.1 has them.

All of them multiply the advantages, so weights and dropped tokens reach them as factors on those. A table says where one cannot
carry out the rest. While the policy is the one that sampled, all of them push a token by its advantage, so that what is
predicted needs only the mean that they take.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from entrostat.errors import HostError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from entrostat.methods import Chain
    from entrostat.methods.base import Link

SETTING = "actor_rollout_ref.actor.policy_loss.loss_mode"
ASKS = {
    "control": "acts on the entropy",
    "ends": "sets an end of the clip range",
    "tokens": "acts on single tokens",
    "terms": "adds a term",
}
"""What a method may ask of a loss -> in words."""


@dataclass(frozen=True)
class LossMode:
    """One policy loss of verl.

    Attributes:
        lacks: what of `ASKS` it cannot carry out -> why, a clause; "" where it stands beside nothing, a measurement neither.
        mean: the `loss_agg_mode` that it always takes; None: the one that is set.
        whole_rows: whether the rollout weights of a completion's tokens become one, their geometric mean.
        of_micro: whether its mean is of each micro-batch's rows, so that it adds up over the micro-batches of an update.
    """

    lacks: Mapping[str, str] = field(default_factory=dict)
    mean: str | None = None
    whole_rows: bool = False
    of_micro: bool = False


BY_SEQUENCE = "seq-mean-token-mean"
RIVAL = LossMode({"control": "verl's own control of the same entropy would stand beside Entrostat's"})
MODES: dict[str, LossMode] = {
    "vanilla": LossMode(),
    "gspo": LossMode(),
    "cispo": LossMode(),
    "dppo_tv": LossMode(
        {"ends": "it uses clip_ratio_low and _high as bounds on the change of a probability, not on the ratio"}
    ),
    "dppo_kl": LossMode({"ends": "it uses clip_ratio_low and _high as bounds on a KL divergence, not on the ratio"}),
    "sapo": LossMode({"ends": "it has a smooth gate (actor.tau_pos, tau_neg) and no clip"}, mean=BY_SEQUENCE),
    "gpg": LossMode({"ends": "it has no importance ratio, and no clip"}),
    "dro": LossMode({"ends": "it has a penalty on the squared log-ratio and no clip"}),
    "geo_mean": LossMode(
        {
            "ends": "it uses clip_ratio_low and _high as bounds on the logarithm of the ratio",
            "tokens": "it takes the mean of a completion's advantages, so that all of its tokens have the same weight",
            "terms": "it adds up the means of the micro-batches, so that a term counts for less the more of them there are",
        },
        mean=BY_SEQUENCE,
        whole_rows=True,
        of_micro=True,
    ),
    "clip_cov": RIVAL,
    "kl_cov": RIVAL,
    "bypass_mode": LossMode(
        {"": "it belongs to rollout_correction.bypass_mode=True; without that it assumes that the old policy sampled"}
    ),
}


def mode_of(actor: Any) -> LossMode:
    """The loss that is set. A user's own is treated like verl's `vanilla`."""
    return MODES.get(actor.policy_loss.loss_mode, MODES["vanilla"])


def aggregation_of(actor: Any) -> str:
    """The `loss_agg_mode` of the policy loss, which not every one of them reads."""
    return str(mode_of(actor).mean or actor.loss_agg_mode)


def micro_mean(actor: Any) -> Literal["rows", "longest"] | None:
    """What the loss divides by in each micro-batch, its "rows" or its "longest" response; None: numbers of the whole update."""
    if mode_of(actor).of_micro:
        return "rows"
    unscaled = actor.get("loss_scale_factor") is None
    return "longest" if unscaled and aggregation_of(actor) == "seq-mean-token-sum-norm" else None


def check_loss(actor: Any, method: Chain) -> None:
    """Refuse a method beside a policy loss that cannot carry it out; warn of a loss that is none of verl's.

    Raises:
        HostError: naming the loss, what the method asks of it, and the way out.
    """
    name = actor.policy_loss.loss_mode
    if name not in MODES:
        close = did_you_mean(str(name), tuple(MODES))
        warnings.warn(
            f"{SETTING}={name!r} is not a loss of verl 0.9.1{close}: control assumes that it multiplies the advantages, clips "
            "the ratio by clip_ratio_low and _high, and averages by loss_agg_mode",
            stacklevel=3,
        )
        return
    lacks, out = MODES[name].lacks, f"Set {SETTING}=vanilla"
    if "" in lacks:
        raise HostError(f"{SETTING}={name!r} does not work under Entrostat: {lacks['']}. {out}")
    _check_cut(actor)
    for link in method.links:
        for asked in _asks(link):
            if asked in lacks:
                raise HostError(
                    f"{SETTING}={name!r} cannot carry out {link.name!r}, which {ASKS[asked]}: {lacks[asked]}. {out}"
                )


def _check_cut(actor: Any) -> None:
    """A loss with a mean of each micro-batch needs a cut that the driver can repeat."""
    own = actor.get("megatron") or {}
    if actor.strategy != "megatron" or micro_mean(actor) is None:
        return
    cut = ""
    if own.get("dynamic_context_parallel"):
        cut = "megatron.dynamic_context_parallel=True"
    elif actor.use_dynamic_bsz and (stages := own.get("virtual_pipeline_model_parallel_size") or 1) > 1:
        cut = f"megatron.virtual_pipeline_model_parallel_size={stages} with use_dynamic_bsz=True"
    if cut:
        rows = micro_mean(actor) == "rows"
        loss = f"{SETTING}={actor.policy_loss.loss_mode!r}" if rows else f"actor.loss_agg_mode={actor.loss_agg_mode}"
        out = f"set {SETTING}=vanilla" if rows else "set actor.loss_scale_factor"
        raise HostError(
            f"{loss} takes a mean of each micro-batch, and {cut} makes micro-batches that the driver does not know, so the "
            f"effect of an update on the entropy cannot be computed: {out}, or leave the other setting out"
        )


def _asks(link: Link) -> list[str]:
    """What of `ASKS` a link asks; `dual_clip` is not among the ends: those who set it take it away."""
    found = {
        "control": bool(link.stages),
        "ends": bool({"eps_low", "eps_high"} & link.writes),
        "tokens": bool({"advantages_BT", "weight_BT", "keep_BT"} & link.writes),
        "terms": any(name.startswith("terms/") for name in link.writes),
    }
    return [name for name, asked in found.items() if asked]


def weights_of(mode: LossMode, weight_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """verl's rollout correction as the loss multiplies it, (B, T)."""
    if not mode.whole_rows:
        return weight_BT
    mask = mask_BT.bool()
    # The small number is verl's.
    logs = (weight_BT + 1e-10).log().masked_fill(~mask, 0).sum(1, keepdim=True)
    return (logs / mask.sum(1, keepdim=True).clamp_min(1)).exp().expand_as(weight_BT)
