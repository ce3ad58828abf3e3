"""TRL's generation of a batch: sampled at the method's temperature, its rewards and advantages changed by the method.

Statistics of the policy that sampled are measured in the first scoring pass over the batch, and travel with it to the loss.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from entrostat.core.control import EntropyControl
from entrostat.hosts.trl.batch import sent
from entrostat.hosts.trl.loss import Loss
from entrostat.hosts.trl.rhythm import count_tokens
from entrostat.hosts.trl.rollouts import (
    OLD_LOGP,
    REWARDS,
    TEMPERATURE,
    TEMPERED,
    are_scored,
    check_unread,
    identify,
    own_rows,
    score,
)
from entrostat.hosts.trl.sampling import Sampling, sample_at
from entrostat.hosts.trl.tempered import rows_at, tempered_rows
from entrostat.types import TokenStats, Want


@dataclass
class Sampled:
    """What is measured of the policy that sampled, in the first scoring pass over a generation batch."""

    want: frozenset[Want]
    stats: TokenStats | None = None


class Generation:
    """Mixin over a TRL trainer: the part of `controlled` before the loss."""

    entropy_control: EntropyControl
    _sampling: Sampling
    _loss: Loss
    _old_want: frozenset[Want]
    _sampled: Sampled | None
    _first_pass: Tensor | None
    _reward_sums: Tensor | None
    _scored_ids: list[list[int]] | None
    _factor: float
    _tempered: Tensor | None

    def _sample_at(self, factor: float) -> None:
        """Sample from now on at `factor` times the temperature that the run was given."""
        self._factor = factor
        sample_at(self, self._sampling.times(factor))

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        host: Any = self
        with rows_at(host.model, self._tempered):
            return super()._generate_single_turn(*args, **kwargs)  # type: ignore[misc]

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        per_function = super()._calculate_rewards(*args, **kwargs)  # type: ignore[misc]
        self._scored_ids = kwargs.get("completion_ids_list", args[-1] if args else None)
        host: Any = self
        sums = (per_function * host.reward_weights.to(per_function.device).unsqueeze(0)).nansum(1)
        # What no function scored is not wrong: it has no reward.
        self._reward_sums = sums.masked_fill(per_function.isnan().all(1), torch.nan)
        return per_function

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        host: Any = self
        method, training = self.entropy_control.method, host.model.training
        if method.sets_temperature:
            # Evaluation is sampled at the run's own temperature, wherever the controller stands.
            self._sample_at(self.entropy_control.temperature if training else 1.0)
        self._tempered = tempered_rows(host, self.entropy_control, len(inputs)) if training else None
        asked = self._old_want | method.of_rollouts if training else frozenset()
        self._sampled = sampled = Sampled(asked | {"logp", "entropy"}) if asked else None
        self._first_pass = self._reward_sums = self._scored_ids = None
        try:
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
            # Then the first pass was the old policy's.
            scored = "old_per_token_logps" in output or "old_logps" in output
            if sampled is not None and not scored:
                sampled.stats = None
                if method.of_rollouts:
                    self._score_again(output)
        finally:
            self._sampled, first, self._first_pass = None, self._first_pass, None
        if method.sets_temperature:
            rows = output["completion_mask"][:, 0]
            output[TEMPERATURE] = torch.full_like(rows, self._factor, dtype=torch.float32)
        if not training:
            return output
        count_tokens(host, output)
        if not are_scored(output, self._scored_ids):
            check_unread(host, method, bool(asked) or "old_logps" in output)
            return output
        identify(host, output)
        if "old_logps" in output and first is not None:  # RLOO sums them over each row
            output[OLD_LOGP] = first
        if self._tempered is not None:
            output[TEMPERED] = self._tempered
        stats = sampled.stats if sampled is not None else None
        if self._reward_sums is not None:
            if "reward" in method.stages:
                score(host, self.entropy_control, output, self._reward_sums, stats, self._loss.mean)
            output[REWARDS] = self._reward_sums[own_rows(host, output)]
        if stats is not None and scored:
            output |= sent(stats, self._old_want)
        return output

    def _score_again(self, output: dict[str, Any]) -> None:
        """A forward pass of the sampling policy on its batch, for a reward stage that reads it where TRL makes none."""
        host: Any = self
        ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
        attention = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
        named = inspect.signature(super()._get_per_token_logps_and_entropies).parameters  # type: ignore[misc]
        media = {name: value for name, value in output.items() if name in named}
        with torch.no_grad():
            host._get_per_token_logps_and_entropies(
                host.model, ids, attention, output["completion_ids"].size(1),
                batch_size=host.args.per_device_train_batch_size, **media,
            )  # fmt: skip
