"""The workers' policy loss, where a method changes more than advantages: verl's own, with a clip range and added terms.

    loss = ppo_loss(clip range) + sum(ratio_term * r + entropy_term * H) / tokens

The mean is verl's token mean: over the tokens of the mini-batch on all ranks, whatever the loss's own aggregation.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from entrostat.hosts.verl import fields

LARGEST_LOG_RATIO = 20.0  # as in verl's own losses


def controlled_loss(
    config: Any, model_output: dict[str, Any], data: Any, dp_group: Any = None
) -> tuple[Tensor, dict[str, Any]]:
    """verl's `ppo_loss` as the driver wants it for this batch; goes to the workers through `set_loss_fn`."""
    clip = tu.get_non_tensor_data(data, fields.CLIP, None)
    if clip is not None:
        config = dataclasses.replace(config, clip_ratio_low=clip[0], clip_ratio_high=clip[1])
    loss, metrics = ppo_loss(config, model_output, data, dp_group)
    present = [name for name in (fields.RATIO_TERM, fields.ENTROPY_TERM) if name in data]
    if not present:
        return loss, metrics
    padded = data.select("response_mask", "old_log_probs", *present).to_padded_tensor()
    mask = padded["response_mask"].bool()
    added = loss.new_zeros(())
    if fields.RATIO_TERM in present:
        change = no_padding_2_padding(model_output["log_probs"], data) - padded["old_log_probs"]
        ratio = change.masked_fill(~mask, 0).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
        added = added + _sum(padded[fields.RATIO_TERM] * ratio, mask)
    if fields.ENTROPY_TERM in present:
        entropy = no_padding_2_padding(model_output["entropy"], data)
        added = added + _sum(padded[fields.ENTROPY_TERM] * entropy, mask)
    # Ranks are averaged, so each one's share of the global mean is scaled by their number.
    added = added / data["batch_num_tokens"] * data["dp_size"]
    metrics["actor/entropy_control_terms"] = Metric(value=added.detach(), aggregation=AggregationType.SUM)
    return loss + added, metrics


def _sum(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, values, 0).sum()
