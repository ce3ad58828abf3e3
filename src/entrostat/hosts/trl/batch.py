"""A micro-batch of TRL as methods see it, and the statistics of the policy that sampled, which travel with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor

from entrostat.hosts.trl.rollouts import ADVANTAGES, GROUPS, REWARDS, TEMPERED, completion_mask, old_logp
from entrostat.types import TokenBatch, TokenStats, Want

_OLD = "entrostat_old/"
"""Keys of those statistics: each with its place in `_in_order`."""


def batch_of(
    inputs: dict[str, Any], stats: TokenStats, logp: Tensor, old: Iterable[Want], with_tokens: bool = False
) -> TokenBatch:
    """Values measured in fp32, the importance ratio and the gradient of `logp` TRL's own.

    Args:
        old: names of the statistics that may have travelled with the batch.
        with_tokens: the tokens and prompts themselves, too, for a record of them.
    """
    mask = completion_mask(inputs)
    measured = stats.need("logp").detach()
    own = replace(stats, logp=measured + (logp - logp.detach()))
    before = old_logp(inputs)
    if before is not None:
        before = measured - (logp.detach() - before)
    told = _identity(inputs) if with_tokens else {}
    advantages = inputs.get(ADVANTAGES, inputs["advantages"])
    rewards, groups, tempered = (inputs.get(key) for key in (REWARDS, GROUPS, TEMPERED))
    return TokenBatch(own, advantages, mask, before, rewards, groups, _received(inputs, old), tempered, **told)


def sent(stats: TokenStats, old: Iterable[Want]) -> dict[str, Tensor]:
    """Those statistics as entries of TRL's batch."""
    return {f"{_OLD}{index}": stats.need(want) for index, want in enumerate(_in_order(old))}


def _received(inputs: dict[str, Any], old: Iterable[Want]) -> TokenStats | None:
    """The inverse of `sent`; None where they were not measured."""
    keys = {want: f"{_OLD}{index}" for index, want in enumerate(_in_order(old))}
    found = {want: inputs[key] for want, key in keys.items() if key in inputs}
    if not found:
        return None
    named: dict[str, Any] = {want: value for want, value in found.items() if isinstance(want, str)}
    extra = {want: value for want, value in found.items() if not isinstance(want, str)}
    return TokenStats(**({"logp": old_logp(inputs)} | named), extra=extra)


def _in_order(wants: Iterable[Want]) -> list[Want]:
    return sorted(wants, key=str)


def _identity(inputs: dict[str, Any]) -> dict[str, Any]:
    """Which tokens and prompts a micro-batch holds, for a record of them."""
    if "completion_ids" not in inputs:
        return {}
    prompts = zip(inputs["prompt_ids"], inputs["prompt_mask"].bool(), strict=True)
    return {"ids_BT": inputs["completion_ids"], "prompts_B": [ids[mask] for ids, mask in prompts]}
