"""The driver: a mixin over verl's trainers that steps the controller once per batch, on the exact global batch.

Where verl computes the old policy's log-probabilities, the same forward pass returns exact statistics. Where verl has its
advantages, the whole batch of the update is at hand in one process: the controller steps on it and reweights it, with no
delay and nothing to reduce. The state is written beside verl's checkpoint, before the tracker file that makes it count.

Importing this module registers the trainers `entrostat_sync` and `entrostat_colocate_async`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import transfer_queue as tq
from omegaconf import OmegaConf, open_dict
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.utils.padding import response_from_nested, response_to_nested

from entrostat.attribution import TokenRecorder
from entrostat.core.control import EntropyControl
from entrostat.errors import MissingStatistic
from entrostat.hosts.verl import fields
from entrostat.hosts.verl.batch import (
    Sessions,
    Update,
    control_batch,
    divisors_of,
    measure_batch,
    needs_loss,
    score_batch,
)
from entrostat.hosts.verl.loss import controlled_loss
from entrostat.hosts.verl.loss_modes import aggregation_of, micro_mean, mode_of, weights_of
from entrostat.hosts.verl.micro_batches import micro_batches, row_weights
from entrostat.hosts.verl.settings import VERL, check_host, read_settings
from entrostat.types import Divisors, TokenBatch, TokenStats

AFRESH = "To start the controller afresh from this checkpoint, add +entrostat.resume_state=fresh"


class Controlled:
    """Mixin over one of verl's v1 trainers; configured by `+entrostat.*`."""

    config: Any

    def __init__(self, config: Any) -> None:
        settings = read_settings(OmegaConf.to_container(config.get("entrostat") or OmegaConf.create(), resolve=True))
        check_host(config, settings.method)
        actor, v1 = config.actor_rollout_ref.actor, config.trainer.v1
        with open_dict(config):
            # verl compares its mode with "sync" in several places: it gets its own name back.
            v1.trainer_mode = v1.trainer_mode.removeprefix(fields.PREFIX)
            add_engine(config.actor_rollout_ref.model)
            if settings.method.adds_terms:
                actor.calculate_entropy = True  # with gradient, in the update
        updates = optimizer_steps(config, v1.get(v1.trainer_mode, {}).get("parameter_sync_step", 1))
        self.entropy_control = EntropyControl(
            settings.method, on_policy=updates == 1, delay=0, host=VERL, updates=updates
        )
        self.resume_state, self._tokens, self._alerts = settings.resume_state, settings.tokens, settings.alerts
        self._clip: tuple[float, float, float] | None = None
        super().__init__(config)  # type: ignore[call-arg]

    # -- setting up ----------------------------------------------------------------------------------------------------

    def _init_tokenizer(self) -> None:
        super()._init_tokenizer()  # type: ignore[misc]
        self.entropy_control.check_reachable(len(self.tokenizer))  # type: ignore[attr-defined]

    def on_init_end(self) -> None:
        if needs_loss(self.entropy_control.method):
            config = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)
            self.actor_rollout_wg.set_loss_fn(partial(controlled_loss, config=config))  # type: ignore[attr-defined]
        super().on_init_end()  # type: ignore[misc]

    # -- one batch -----------------------------------------------------------------------------------------------------

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        batch.extra_info[fields.WANT] = self._wanted
        done = super()._compute_old_log_prob(batch, metrics)  # type: ignore[misc]
        for each in (batch, done):
            each.extra_info.pop(fields.WANT, None)
        return done

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        batch = super()._compute_advantage(batch, metrics)  # type: ignore[misc]
        actor = self.config.actor_rollout_ref.actor
        token_batch, sessions, like = self._read(batch)
        if self._critic_alone:
            metrics.update(measure_batch(token_batch))
            return batch
        aggregation = aggregation_of(actor)
        if "reward" in self.entropy_control.method.stages:
            token_batch = score_batch(
                self.entropy_control, token_batch, sessions, aggregation, (self._done, self._total)
            )
        update = control_batch(self.entropy_control, token_batch, aggregation, clip_range(actor))
        self._clip = update.clip
        metrics.update(update.metrics)
        return self._write(batch, update, like)

    @property
    def _critic_alone(self) -> bool:
        """Whether this step does not update the actor, as verl's loop decides."""
        return bool(self.config.trainer.critic_warmup > self.global_steps)  # type: ignore[attr-defined]

    @property
    def _done(self) -> int:
        """The steps before this one in which the actor was updated."""
        return int(self.global_steps) - self._first  # type: ignore[attr-defined]

    @property
    def _total(self) -> int | None:
        """Such steps of the whole run, where it is known."""
        total = getattr(self, "total_training_steps", None)
        return None if total is None else max(int(total) + 1 - self._first, 0)

    @property
    def _first(self) -> int:
        """verl's first step with an update of the actor: its steps count from 1."""
        return max(int(self.config.trainer.critic_warmup), 1)

    @property
    def _wanted(self) -> list[str]:
        """Names of the statistics that the method reads, of its completions as of its tokens."""
        method = self.entropy_control.method
        return sorted(map(str, self.entropy_control.wants | method.of_rollouts))

    def _read(self, batch: Any) -> tuple[TokenBatch, Sessions, Any]:
        """The global batch from the transfer queue, padded, and verl's mask, whose row lengths a result must have."""
        method, recorded = self.entropy_control.method, self.entropy_control.records_tokens
        rewarded = method.needs_rewards or "reward" in method.stages or recorded
        names = {name: fields.STATISTIC.format(name) for name in self._wanted}
        select = ["advantages", "response_mask", "loss_mask", fields.WEIGHT, *names.values()]
        select += ["rm_scores"] if rewarded else []
        select += ["prompts", "responses"] if recorded else []
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=select)
        if missing := [name for name, field in names.items() if field not in data]:
            raise MissingStatistic(
                f"the training workers returned no {missing}: they did not import {fields.ENGINE} before their engine was "
                "built, or another external_lib registered an engine of its own for the same device. Leave "
                f"actor_rollout_ref.model.external_lib unset, or have {fields.ENGINE} in it"
            )
        like = data["response_mask"]
        stats = {n: response_from_nested(data[f], like).to_padded_tensor(0.0).float() for n, f in names.items()}
        sessions = Sessions.of(batch.keys)
        rewards = None
        if rewarded:  # all rows of a session share the reward of its last
            rewards = data["rm_scores"].to_padded_tensor(0.0).sum(1)[sessions.last_S][sessions.session_B]
        advantages, mask = data["advantages"].to_padded_tensor(0.0), like.to_padded_tensor(0)
        # Tokens that verl has rejected leave `response_mask`. They are measured, and stay in the number that the loss divides by.
        sampled = data["loss_mask"].to_padded_tensor(0)
        told: dict[str, Any] = {"divisors": self._divisors(mask, sampled), "sampled_BT": sampled}
        weights = data[fields.WEIGHT].to_padded_tensor(0.0) if fields.WEIGHT in data else None
        told["host_weight_BT"] = self._host_weights(weights, mask, like, batch.tags)
        if recorded:
            told |= {"ids_BT": data["responses"].to_padded_tensor(0), "prompts_B": list(data["prompts"].unbind())}
        whole = TokenBatch(TokenStats(**stats), advantages, mask, None, rewards, sessions.prompt_B, **told)
        return whole, sessions, like

    def _divisors(self, mask: Tensor, sampled: Tensor) -> Divisors:
        actor, each = self.config.actor_rollout_ref.actor, self.config.actor_rollout_ref.rollout.n
        mini_batch, scale = actor.ppo_mini_batch_size * each, actor.loss_scale_factor
        return divisors_of(aggregation_of(actor), mask, mini_batch, scale, sampled)

    def _host_weights(self, rollout: Tensor | None, mask: Tensor, like: Any, tags: Sequence[Any]) -> Tensor | None:
        """What verl multiplies each token's loss by: the rollout correction, and what means of micro-batches add; or None."""
        actor, each = self.config.actor_rollout_ref.actor, self.config.actor_rollout_ref.rollout.n
        weights = None if rollout is None else weights_of(mode_of(actor), rollout, mask)
        of = None if self._critic_alone else micro_mean(actor)
        if of is None:
            return weights
        # As verl counts the ranks where it balances the batch.
        ranks = int(max(self.actor_rollout_wg._dispatch_info["actor"])) + 1  # type: ignore[attr-defined]
        micros = micro_batches(actor, [tag["seq_len"] for tag in tags], each, ranks)
        own = row_weights(of, micros, like.offsets().diff(), actor.ppo_mini_batch_size * each // ranks).unsqueeze(1)
        return own.expand(mask.shape) if weights is None else weights * own

    def _write(self, batch: Any, update: Update, like: Any) -> Any:
        columns = {
            "advantages": update.advantages_BT,
            fields.REFERENCE: update.reference_BT,
        } | {fields.TERM.format(of): factor for of, factor in update.terms.items()}
        nested = {name: response_to_nested(value, like) for name, value in columns.items() if value is not None}
        out = TensorDict(nested, batch_size=len(batch))
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=out)

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        if self._clip is not None:
            batch.extra_info[fields.CLIP] = self._clip
        return super()._update_actor(batch, metrics)  # type: ignore[misc]

    def _compute_metrics(self, batch: Any, metrics: dict[str, Any], *rest: Any, **named: Any) -> None:
        super()._compute_metrics(batch, metrics, *rest, **named)  # type: ignore[misc]
        if self._alerts is not None:
            self._alerts.add(self.global_steps, metrics)  # type: ignore[attr-defined]

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def _save_checkpoint(self) -> None:
        folder = self._folder()
        os.makedirs(folder, exist_ok=True)
        # First: verl's last act is the tracker file, which makes the checkpoint one to resume from.
        self.entropy_control.save(folder)
        super()._save_checkpoint()  # type: ignore[misc]

    def _load_checkpoint(self) -> None:
        super()._load_checkpoint()  # type: ignore[misc]
        if self.global_steps > 0 and self.resume_state == "require":  # type: ignore[attr-defined]
            trainer = self.config.trainer
            path = trainer.resume_from_path if trainer.resume_mode == "resume_path" else self._folder()
            self.entropy_control.load(path, AFRESH)
        if self._tokens is not None:
            folder, decode = Path(self.config.trainer.default_local_dir) / "tokens", self.tokenizer.decode  # type: ignore[attr-defined]
            done = self.entropy_control.steps
            self.entropy_control.recorder = TokenRecorder(folder, **self._tokens, decode=decode, step=done)

    def _folder(self) -> Path:
        return Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"  # type: ignore[attr-defined]


def optimizer_steps(config: Any, syncs: int) -> int:
    """The optimizer steps that verl takes on each batch that the controller measures.

    Args:
        syncs: batches that `data.train_batch_size` prompts are cut into (`parameter_sync_step`).
    """
    actor = config.actor_rollout_ref.actor
    return int(actor.ppo_epochs * max(1, math.ceil(config.data.train_batch_size / syncs / actor.ppo_mini_batch_size)))


def add_engine(model: Any) -> None:
    """Have the training workers import our engine, besides what the user has them import."""
    others = model.get("external_lib") or []
    others = [others] if isinstance(others, str) else list(others)
    model.external_lib = [*(name for name in others if name != fields.ENGINE), fields.ENGINE]


def clip_range(actor: Any) -> tuple[float, float, float]:
    """verl's own clip range, low, high and dual: `clip_ratio` where an end is not given."""
    low, high = actor.clip_ratio_low, actor.clip_ratio_high
    return (actor.clip_ratio if low is None else low), (actor.clip_ratio if high is None else high), actor.clip_ratio_c


@register_trainer("entrostat_sync")
class ControlledSync(Controlled, PPOTrainerSync):
    """verl's synchronous trainer under entropy control."""


@register_trainer("entrostat_colocate_async")
class ControlledColocateAsync(Controlled, PPOTrainerColocateAsync):
    """verl's colocated asynchronous trainer under entropy control."""
