"""TRL's reward stage: whole groups of scored completions, over all processes, as a method sees and changes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from entrostat.core.control import EntropyControl
from entrostat.errors import HostError
from entrostat.methods import Chain
from entrostat.methods.denominators import kept_advantages
from entrostat.types import Mean, Rollouts, TokenStats

REWARDS = "entrostat_rewards"
GROUPS = "entrostat_groups"
ADVANTAGES = "entrostat_advantages"
TEMPERED = "entrostat_tempered"
TEMPERATURE = "entrostat_temperature"
OLD_LOGP = "entrostat_old_logp"
"""Keys of what travels with TRL's batch, row by row; `ADVANTAGES` only where each token has its own, `OLD_LOGP`
where TRL keeps no more than sums over rows (RLOO)."""


def old_logp(inputs: dict[str, Any]) -> Tensor | None:
    """The sampling policy's log-probabilities, (B, T); None where they are the current ones."""
    found: Tensor | None = inputs.get("old_per_token_logps", inputs.get(OLD_LOGP))
    return found


def completion_mask(inputs: dict[str, Any]) -> Tensor:
    """The tokens that the policy wrote, (B, T): without padding, and without what tools have answered."""
    mask: Tensor = inputs["completion_mask"]
    return mask * inputs["tool_mask"] if "tool_mask" in inputs else mask


def are_scored(output: dict[str, Any], scored_ids: list[list[int]] | None) -> bool:
    """Whether a generation batch holds the completions that were scored, row by row: a subclass may have chosen among them."""
    rows = output["completion_ids"].tolist()
    if scored_ids is None or len(scored_ids) != len(rows):
        return False
    return all(row[: len(ids)] == list(ids) for row, ids in zip(rows, scored_ids, strict=True))


def check_unread(host: Any, method: Chain, of_rows: bool) -> None:
    """Refuse rows that are not those scored, beside a method that reads what belongs to a row.

    Args:
        of_rows: whether what was measured of the policy that sampled has to travel with the rows.
    """
    if of_rows or "reward" in method.stages or method.tempers_groups or method.needs & {"rewards", "groups"}:
        raise HostError(
            f"{type(host).__name__} trains on other rows than those that it scored, or in another order: which reward, group and "
            f"old log-probabilities a row has cannot be told, and {method.name!r} with this trainer reads them. Keep the rows, "
            "and let the reward functions return None for those to leave out; or choose a method that reads none of these, such "
            "as 'hold' with GRPOTrainer"
        )


def identify(host: Any, output: dict[str, Any]) -> None:
    """Write down which rows answer one prompt."""
    own = own_rows(host, output)
    each = host.num_generations if host.model.training else getattr(host, "num_generations_eval", host.num_generations)
    output[GROUPS] = torch.arange(own.start, own.stop, device=output["completion_ids"].device) // each


def own_rows(host: Any, output: dict[str, Any]) -> slice:
    """This process's rows among those of all."""
    rows = len(output["completion_ids"])
    first = host.accelerator.process_index * rows
    return slice(first, first + rows)


def score(
    host: Any, control: EntropyControl, output: dict[str, Any], rewards: Tensor, sampled: TokenStats | None, mean: Mean
) -> None:
    """Let the method change advantages and leave out rows of a generation batch, in place.

    Args:
        rewards: of all processes, NaN where nothing scored a completion. sampled: statistics of this process's tokens under
            the policy that sampled.
    """
    mask = completion_mask(output)
    many = host.accelerator.num_processes > 1
    wanted = control.method.of_rollouts
    sums = {} if sampled is None else {name: (sampled.need(name) * mask).sum(1) for name in wanted}

    def gathered(value: Tensor) -> Tensor:
        return host.accelerator.gather(value) if many else value

    rollouts = Rollouts(
        advantages=gathered(output["advantages"]),
        rewards_B=rewards,
        groups_B=gathered(output[GROUPS]),
        lengths_B=gathered(mask.sum(1)),
        sums_B={name: gathered(sums[name]) for name in sorted(sums, key=str)},
        mask_BT=None if many else mask,
        step=host.state.global_step,
        total_steps=host.state.max_steps or None,
    )
    changed = control.score(rollouts, counted=host.accelerator.is_main_process)
    advantages = kept_advantages(changed, mean)
    own = advantages[own_rows(host, output)].to(output["advantages"].dtype)
    if own.dim() == 2:
        output[ADVANTAGES] = own
    else:
        output["advantages"] = own
