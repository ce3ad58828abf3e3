"""How far TRL's losses push a token where that is more than its clipped ratio: as a `Form`, or as a weight of the host.

Methods and the account of the flow see the push of the very loss that TRL computes, off-policy too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from entrostat.hosts.trl.loss import Loss
from entrostat.hosts.trl.rhythm import divisors
from entrostat.types import Form, TokenBatch


@dataclass(frozen=True)
class SoftGate(Form):
    """SAPO's loss of a token: -A (4 / tau) sigmoid(tau (r - 1)), tau by the advantage's sign (2511.20347)."""

    positive: float
    negative: float

    def loss(
        self, log_ratio_BT: Tensor, advantages_BT: Tensor, eps_low: Any, eps_high: Any, dual_clip: float | None
    ) -> Tensor:
        tau = torch.where(advantages_BT > 0, self.positive, self.negative)
        return -advantages_BT * torch.sigmoid(tau * (log_ratio_BT.exp() - 1)) * 4 / tau


@dataclass(frozen=True)
class Capped(Form):
    """CISPO's -sg(min(r, 1 + eps_high)) A log p, where r is not the token's own ratio but its sequence's."""

    def loss(
        self, log_ratio_BT: Tensor, advantages_BT: Tensor, eps_low: Any, eps_high: Any, dual_clip: float | None
    ) -> Tensor:
        ceiling = torch.as_tensor(1 + eps_high).to(log_ratio_BT)
        return -torch.minimum(log_ratio_BT.exp(), ceiling).detach() * advantages_BT * log_ratio_BT


@dataclass(frozen=True)
class Gamma(Form):
    """VESPO's -phi(w) A log p, where phi = e^lambda w^k e^(-lambda w) is of the ratio w of the whole sequence.

    Args:
        log_w_B1: log w as TRL bounds it. positive, negative: k and lambda by the advantage's sign.
    """

    log_w_B1: Tensor
    positive: tuple[float, float]
    negative: tuple[float, float]

    def loss(
        self, log_ratio_BT: Tensor, advantages_BT: Tensor, eps_low: Any, eps_high: Any, dual_clip: float | None
    ) -> Tensor:
        (k_up, rate_up), (k_down, rate_down) = self.positive, self.negative
        up = advantages_BT >= 0
        k, rate = torch.where(up, k_up, k_down), torch.where(up, rate_up, rate_down).clamp_min(1e-4)
        phi = (rate + k * self.log_w_B1 - rate * self.log_w_B1.exp()).exp().nan_to_num(0, 0, 0)
        return -phi * advantages_BT * log_ratio_BT


@dataclass(frozen=True)
class GeometricMean(Form):
    """GMPO's -A times the geometric mean of a row's clipped ratios (2507.20673), times the row's length as it is averaged.

    Args:
        length_B1: tokens of each row.
    """

    length_B1: Tensor

    def loss(
        self, log_ratio_BT: Tensor, advantages_BT: Tensor, eps_low: Any, eps_high: Any, dual_clip: float | None
    ) -> Tensor:
        low, high = (torch.as_tensor(end).to(log_ratio_BT) for end in (1 - eps_low, 1 + eps_high))
        ends = low.clamp_min(1e-8).log(), high.log()
        clipped = torch.where(
            advantages_BT > 0, torch.minimum(log_ratio_BT, ends[1]), torch.maximum(log_ratio_BT, ends[0])
        )
        mean = (clipped.detach().sum(1, keepdim=True) / self.length_B1.clamp_min(1)).exp()
        return -mean * advantages_BT * clipped


@dataclass(frozen=True)
class WholeRow(Form):
    """RLOO's -A min(r, clip(r)), where r is the ratio of the whole sequence, the product of its tokens' (2402.14740).

    Args:
        ratio_B1: r.
    """

    ratio_B1: Tensor

    def loss(
        self, log_ratio_BT: Tensor, advantages_BT: Tensor, eps_low: Any, eps_high: Any, dual_clip: float | None
    ) -> Tensor:
        ratio, up = self.ratio_B1, advantages_BT > 0
        stopped = torch.where(up, ratio > 1 + eps_high, ratio < 1 - eps_low)
        return (-advantages_BT * ratio * log_ratio_BT).masked_fill(stopped, 0)


def gamma_of(trainer: Any, logp_BT: Tensor, mask: Tensor, inputs: dict[str, Any]) -> Gamma:
    """VESPO's weights of a micro-batch."""
    args, least = trainer.args, math.log(1e-8)
    old = inputs.get("old_per_token_logps")
    log_ratio = torch.zeros_like(logp_BT) if old is None else logp_BT - old
    log_w = (log_ratio.clamp(-20, 20) * mask).sum(1, keepdim=True)
    correction = inputs.get("importance_sampling_ratio")
    if correction is not None:
        log_w = log_w + correction.log().clamp(least, 20).sum(1, keepdim=True)
    return Gamma(
        log_w.clamp(least, 20), (args.vespo_k_pos, args.vespo_lambda_pos), (args.vespo_k_neg, args.vespo_lambda_neg)
    )


def as_weighed(trainer: Any, loss: Loss, batch: TokenBatch, logp_BT: Tensor, inputs: dict[str, Any]) -> TokenBatch:
    """The batch with what TRL's loss multiplies its tokens by, and divides their sum by, beside their own clipped ratios."""
    return replace(
        batch,
        host_weight_BT=_host_weight(trainer, loss, batch.mask_BT, inputs),
        stale_B=_stale_rows(trainer, loss, logp_BT, batch.mask_BT, inputs),
        divisors=divisors(trainer, loss, batch, inputs),
    )


def _host_weight(trainer: Any, loss: Loss, mask: Tensor, inputs: dict[str, Any]) -> Tensor | None:
    """vLLM's importance correction, by which TRL multiplies each token's loss, (B, T); None where it does not."""
    if loss.name in ("rloo", "gmpo", "vespo", "own"):
        return None
    corrected = getattr(trainer, "use_vllm", False) and getattr(trainer, "vllm_importance_sampling_correction", False)
    if not corrected or "importance_sampling_ratio" not in inputs:
        return None
    ratio: Tensor = inputs["importance_sampling_ratio"]
    return ratio.expand(mask.shape)


def _stale_rows(trainer: Any, loss: Loss, logp_BT: Tensor, mask: Tensor, inputs: dict[str, Any]) -> Tensor | None:
    """DeepSeek-V3.2's mask: the rows that TRL leaves out where their advantage is negative, (B,); None where it masks none."""
    threshold = getattr(trainer, "off_policy_mask_threshold", None)
    if threshold is None or loss.name in ("rloo", "gmpo", "own"):
        return None
    logp = logp_BT.detach()
    kept: Tensor = trainer.get_off_policy_mask(
        advantages=-torch.ones_like(logp[:, :1]),
        per_token_logps=logp,
        sampling_per_token_logps=inputs.get("sampling_per_token_logps", inputs.get("old_per_token_logps", logp)),
        mask=mask,
        off_policy_threshold=threshold,
    )
    return ~kept.bool().squeeze(1)
