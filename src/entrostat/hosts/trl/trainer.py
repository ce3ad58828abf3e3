"""TRL: `controlled(GRPOTrainer, method)` returns a trainer class that holds the policy's entropy.

The seam. TRL's `_compute_loss` first calls `_get_per_token_logps_and_entropies` and computes its loss from the
log-probabilities that this returns. The statistics of that very forward pass are measured beside it (`head`), and the
method's weights scale the gradient of the log-probabilities (`loss`): no second pass, and no assumption on the loss but that it
depends on the policy through them.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from entrostat.core.control import EntropyControl
from entrostat.errors import HostError, MissingStatistic, NotInstalled
from entrostat.methods import Chain, Link, chain
from entrostat.types import Term, TokenBatch, TokenStats, Want

try:
    import trl  # noqa: F401
except ImportError as error:
    raise NotInstalled("entrostat.trl needs TRL: pip install 'entrostat[trl]'") from error

from entrostat.hosts.trl import head
from entrostat.hosts.trl.batch import batch_of, current_wants, old_wants, sent
from entrostat.hosts.trl.checks import Watch, check_adapter, check_arguments, check_class, check_objective
from entrostat.hosts.trl.express import express, host_of, objective_of, restore, restoring
from entrostat.hosts.trl.loss import Loss, loss_of
from entrostat.hosts.trl.push import as_weighed
from entrostat.hosts.trl.rhythm import aligned, count_tokens, fresh, spread
from entrostat.hosts.trl.rollouts import OLD_LOGP, REWARDS, TEMPERED, identify, own_rows, score
from entrostat.hosts.trl.sampling import Sampling, sample_at, sampling_of
from entrostat.hosts.trl.tempered import rows_at, tempered_rows

_TEMPERATURE = "entrostat_temperature"


def controlled(
    trainer_class: type,
    method: Chain | Link,
    resume_state: Literal["require", "fresh"] = "require",
    predict_every: int = 0,
) -> type:
    """A subclass of a TRL trainer in which `method` controls the entropy; construct and use it as TRL's own.

        Trainer = es.trl.controlled(GRPOTrainer, es.hold(target=0.3))
        Trainer(model=..., reward_funcs=..., train_dataset=..., args=...).train()

    One controller step per optimizer step, on the exact mean over micro-batches and processes; evaluation moves nothing.
    Metrics `entropy_control/...` and `token_entropy/...` join TRL's own log. The state is saved inside TRL's checkpoints.

    Args:
        trainer_class: `GRPOTrainer`, `RLOOTrainer` or a subclass.
        method: a preset, a chain or a link.
        resume_state: on `resume_from_checkpoint`, "require" a matching controller state, or start it "fresh".
        predict_every: every so many steps, predict what the step does to the entropy and check it; 0: never. More settings
            are in `trl_prediction.predicted`.

    Raises:
        HostError: the class lacks the seam, or TRL's has moved; on construction, where this trainer's loss, sampling or adapter
            cannot be served, and where TRL's own entropy options are on beside a method that acts.
        ConfigError: on construction, where a setting of TRL's advantages is given that the method leaves without effect.
    """
    check_class(trainer_class)
    if not isinstance(method, Chain | Link):
        EntropyControl(method)  # its error says what a method is
    if resume_state not in ("require", "fresh"):
        raise HostError(f"resume_state must be 'require' or 'fresh', got {resume_state!r}")
    if predict_every and EntropyControl(method).method.sets_temperature:
        raise HostError(
            f"{method.name!r} moves the sampling temperature between the measurements that a prediction compares: "
            "leave out predict_every"
        )
    if predict_every:
        from entrostat.hosts.trl.prediction import predicted  # which builds on this module

        trainer_class = predicted(trainer_class, predict_every)
    return type(
        f"Controlled{trainer_class.__name__}",
        (_Controlled, trainer_class),
        {"_entropy_method": method, "_resume_state": resume_state, "__doc__": trainer_class.__doc__},
    )


@dataclass
class _Capture:
    """What one loss computation hands from the forward pass to the added terms."""

    inputs: dict[str, Any]
    terms: tuple[Term, ...] = ()
    batch: TokenBatch | None = None
    applied: bool = False


@dataclass
class _Sampled:
    """What is measured of the policy that sampled, in the first scoring pass over a generation batch."""

    want: frozenset[Want]
    stats: TokenStats | None = None


class _Controlled:
    """Mixin over a TRL trainer; see `controlled`."""

    _entropy_method: Chain | Link
    _resume_state: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        method = self._entropy_method if isinstance(self._entropy_method, Chain) else chain(self._entropy_method)
        writes = method.writes
        bound = inspect.signature(super().__init__).bind_partial(*args, **kwargs)
        if (config := bound.arguments.get("args")) is not None:
            check_arguments(config, method)
        head.install()
        super().__init__(*args, **kwargs)
        host: Any = self
        check_arguments(host.args, method)
        check_adapter(host)
        self._sampling: Sampling = sampling_of(host)
        self._loss: Loss = loss_of(host)
        check_objective(host, self._loss, method, writes)
        vocabulary = host.model.config.get_text_config().vocab_size
        self.entropy_control = EntropyControl(
            self._entropy_method, vocabulary, on_policy=aligned(host), host=host_of(host, self._loss)
        )
        self._old_want = old_wants(self.entropy_control.method)
        self._measured_gradient = any(name.startswith("terms/") for name in writes)
        self._capture: _Capture | None = None
        self._sampled: _Sampled | None = None
        self._first_pass: Tensor | None = None
        self._reward_sums: Tensor | None = None
        self._factor = 1.0
        self._tempered: Tensor | None = None
        self._losses = self._controller_steps = 0
        host.add_callback(Watch(self))

    # -- the forward pass and the loss ---------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        host: Any = self
        if not host.model.training:
            return super()._compute_loss(model, inputs)  # type: ignore[misc]
        # A copy: TRL keeps the batch for its next iteration, which must find its own.
        self._capture = capture = _Capture(dict(inputs))
        kept = restoring(host)
        try:
            loss = super()._compute_loss(model, capture.inputs)  # type: ignore[misc]
        finally:
            restore(host, kept)
            self._capture = None
        if not capture.applied:
            raise MissingStatistic(
                f"{type(self).__name__} computed a loss without calling _get_per_token_logps_and_entropies: the statistics that "
                f"{self.entropy_control.method.name!r} needs are missing"
            )
        self._losses += 1
        for term in capture.terms:
            assert capture.batch is not None
            loss = loss + spread(host, term, capture.batch)
        if host.accelerator.sync_gradients:
            self._controller_steps += 1
            for name, value in self.entropy_control.step(fresh=fresh(host)).items():
                host._metrics["train"][name].append(value)
        return loss

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Any, ...]:
        forward = super()._get_per_token_logps_and_entropies  # type: ignore[misc]
        capture, sampled = self._capture, self._sampled
        arguments = (model, input_ids, attention_mask, logits_to_keep, *args)
        factor = self._factor
        if capture is not None:
            # A batch is scored at the temperature at which it was sampled, which may be some updates ago.
            factor = float(capture.inputs[_TEMPERATURE][0]) if _TEMPERATURE in capture.inputs else 1.0
        # Without a gradient it is a pass beside the loss, of a reference or of the old policy.
        if capture is not None and torch.is_grad_enabled() and not self._is_second(capture):
            want = current_wants(self.entropy_control)
            found, stats = self._heard(forward, arguments, kwargs, want, factor, self._measured_gradient)
            if (recording := getattr(self, "_recording", None)) is not None:
                recording.retain_entropy(stats.entropy)
            return (self._control(capture, stats, found[0]), *found[1:])
        if sampled is not None and sampled.stats is None:
            found, sampled.stats = self._heard(forward, arguments, kwargs, sampled.want, self._factor, False)
        else:
            with head.at_temperature(self, factor):
                found = forward(*arguments, **kwargs)
        if self._first_pass is None:
            self._first_pass = found[0]
        return found

    def _is_second(self, capture: _Capture) -> bool:
        """Whether this loss has taken its log-probabilities already; where the method acts, `HostError` then."""
        if capture.applied and self.entropy_control.method.writes:
            raise HostError(
                f"{type(self).__name__} computes one loss from two calls of _get_per_token_logps_and_entropies with a "
                f"gradient: {self.entropy_control.method.name!r} acts through the first alone, and which tokens the second "
                "scores it cannot tell. Take all log-probabilities of the loss from one call, and put others under "
                "torch.no_grad()"
            )
        return capture.applied

    def _heard(
        self, forward: Any, arguments: Any, kwargs: Any, want: frozenset[Want], factor: float, gradient: bool
    ) -> tuple[tuple[Any, ...], TokenStats]:
        """What a forward pass at `factor` times the run's temperature returns, and the statistics measured beside it, (B, T)."""
        model, input_ids, attention_mask, columns, *_ = arguments
        labels = attention_mask[:, 1:].bool().clone()
        labels[:, :-columns] = False
        sampling = self._sampling.times(factor)

        def measure(seen: head.Projection) -> TokenStats:
            # Off Triton devices TRL passes every position; those without a label need no statistics.
            rows = labels.reshape(-1) if len(seen) == labels.numel() else None
            with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
                return sampling.stats(seen, want, rows)

        with head.listening(model, measure, input_ids, columns) as heard, head.at_temperature(self, factor):
            found: tuple[Any, ...] = forward(*arguments, **kwargs)
        return found, head.completion_rows(heard, labels, columns)

    def _control(self, capture: _Capture, stats: TokenStats, logp: Tensor) -> Tensor:
        """Apply the method to this micro-batch: weights, clip range and terms; returns the log-probabilities."""
        inputs = capture.inputs
        batch = batch_of(inputs, stats, logp, self._old_want, self.entropy_control.records_tokens)
        batch = as_weighed(self, self._loss, batch, logp, inputs)
        plain = objective_of(self, self._loss, batch, inputs)
        changed = self.entropy_control.apply(plain, batch)
        capture.applied, capture.terms, capture.batch = True, changed.terms, batch
        return express(self, self._loss, plain, changed, batch, inputs, logp)

    # -- temperature ---------------------------------------------------------------------------------------------------

    def _sample_at(self, factor: float) -> None:
        """Sample from now on at `factor` times the temperature that the run was given."""
        self._factor = factor
        sample_at(self, self._sampling.times(factor))

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        host: Any = self
        with rows_at(host.model, self._tempered):
            return super()._generate_single_turn(*args, **kwargs)  # type: ignore[misc]

    # -- rewards, for methods that build their own advantages ----------------------------------------------------------

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        per_function = super()._calculate_rewards(*args, **kwargs)  # type: ignore[misc]
        host: Any = self
        sums = (per_function * host.reward_weights.to(per_function.device).unsqueeze(0)).nansum(1)
        # What no function scored is not wrong: it has no reward.
        self._reward_sums = sums.masked_fill(per_function.isnan().all(1), torch.nan)
        return per_function

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        host: Any = self
        method, training = self.entropy_control.method, host.model.training
        if (
            method.sets_temperature
        ):  # evaluation is sampled at the run's own temperature, wherever the controller stands
            self._sample_at(self.entropy_control.temperature if training else 1.0)
        self._tempered = tempered_rows(host, self.entropy_control, len(inputs)) if training else None
        asked = self._old_want | method.of_rollouts if training else frozenset()
        self._sampled = sampled = _Sampled(asked | {"logp", "entropy"}) if asked else None
        self._first_pass = None
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
        if "old_logps" in output and first is not None:  # RLOO sums them over each row
            output[OLD_LOGP] = first
        if self._tempered is not None:
            output[TEMPERED] = self._tempered
        if method.sets_temperature:
            rows = output["completion_mask"][:, 0]
            output[_TEMPERATURE] = torch.full_like(rows, self._factor, dtype=torch.float32)
        if not training:
            return output
        identify(host, output)
        count_tokens(host, output)
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
            self._get_per_token_logps_and_entropies(
                host.model, ids, attention, output["completion_ids"].size(1),
                batch_size=host.args.per_device_train_batch_size, **media,
            )  # fmt: skip

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        super().save_model(output_dir, _internal_call)  # type: ignore[misc]
        host: Any = self
        # An internal call is the first act of a checkpoint: before trainer_state.json marks it whole, and before older
        # ones are removed.
        if _internal_call and output_dir is not None and host.args.should_save:
            self.entropy_control.save(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is not None and self._resume_state == "require":
            self.entropy_control.load(checkpoint)
