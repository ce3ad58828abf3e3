"""The workers' policy loss, where a method changes more than advantages: verl's own, with a clip range and added terms.

    loss = ppo_loss(clip range) + sum over terms and tokens of factor * value / tokens      value: `types.term_value`

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
from entrostat.types import LARGEST_LOG_RATIO, TERMS, term_value


def controlled_loss(
    config: Any, model_output: dict[str, Any], data: Any, dp_group: Any = None
) -> tuple[Tensor, dict[str, Any]]:
    """verl's `ppo_loss` as the driver wants it for this batch; goes to the workers through `set_loss_fn`."""
    clip = tu.get_non_tensor_data(data, fields.CLIP, None)
    if clip is not None:
        config = dataclasses.replace(config, clip_ratio_low=clip[0], clip_ratio_high=clip[1], clip_ratio_c=clip[2])
    loss, metrics = ppo_loss(config, model_output, data, dp_group)
    present = {of: name for of in TERMS if (name := fields.TERM.format(of)) in data}
    if not present:
        return loss, metrics
    more = [fields.REFERENCE] if fields.REFERENCE in data else []
    padded = data.select("response_mask", "old_log_probs", *present.values(), *more).to_padded_tensor()
    mask = padded["response_mask"].bool()
    change = no_padding_2_padding(model_output["log_probs"], data) - padded["old_log_probs"]
    change = change.masked_fill(~mask, 0).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    entropy = no_padding_2_padding(model_output["entropy"], data) if "entropy" in present else None
    reference = padded[fields.REFERENCE] if more else None
    added = loss.new_zeros(())
    for of, name in present.items():
        value = padded[name] * term_value(of, change, entropy, reference)
        added = added + torch.where(mask, value, 0).sum()
    # Ranks are averaged, so each one's share of the global mean is scaled by their number.
    added = added / data["batch_num_tokens"] * data["dp_size"]
    metrics["actor/entropy_control_terms"] = Metric(value=added.detach(), aggregation=AggregationType.SUM)
    return loss + added, metrics
