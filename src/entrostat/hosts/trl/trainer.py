"""TRL: `controlled(GRPOTrainer, method)` returns a trainer class that holds the policy's entropy.

How it hooks in: TRL's `_compute_loss` first calls `_get_per_token_logps_and_entropies` and computes its loss from the
log-probabilities that this returns. The statistics are measured in that same forward pass (`head`), and the method's weights
scale the gradient of the log-probabilities (`loss`). So there is no second pass, and the only assumption about the loss is that
it depends on the policy through these log-probabilities.
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
from entrostat.hosts.trl.batch import batch_of
from entrostat.hosts.trl.checks import Watch, check_adapter, check_arguments, check_class, check_objective
from entrostat.hosts.trl.express import express, host_of, objective_of, restore, restoring
from entrostat.hosts.trl.generation import Generation
from entrostat.hosts.trl.loss import loss_of
from entrostat.hosts.trl.push import as_weighed
from entrostat.hosts.trl.rhythm import aligned, fresh, spread
from entrostat.hosts.trl.rollouts import TEMPERATURE
from entrostat.hosts.trl.sampling import sampling_of


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
        predict_every: every so many steps, predict what the step does to the entropy and check it; 0: never. `predicted` in
            `entrostat.hosts.trl.prediction` has more settings.

    Raises:
        HostError: the class lacks the methods that control hooks into. On construction: this trainer's loss, sampling or adapter
            is not supported, or TRL's own entropy options are on beside a method that acts.
        ConfigError: on construction, a setting of TRL's advantages is given that would have no effect under the method.
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


class _Controlled(Generation):
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
        self._sampling = sampling_of(host)
        self._loss = loss_of(host)
        check_objective(host, self._loss, method, writes)
        vocabulary = host.model.config.get_text_config().vocab_size
        self.entropy_control = EntropyControl(
            self._entropy_method, vocabulary, on_policy=aligned(host), host=host_of(host, self._loss)
        )
        self._old_want = self.entropy_control.old_wants
        self._measured_gradient = method.adds_terms
        self._capture: _Capture | None = None
        self._sampled = None
        self._first_pass = self._reward_sums = self._scored_ids = self._tempered = None
        self._factor = 1.0
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
            factor = float(capture.inputs[TEMPERATURE][0]) if TEMPERATURE in capture.inputs else 1.0
        # Without a gradient it is a pass beside the loss, of a reference or of the old policy.
        if capture is not None and torch.is_grad_enabled() and not self._is_second(capture):
            want = self.entropy_control.wants
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
                f"gradient: {self.entropy_control.method.name!r} acts only through the first, and does not know which "
                "tokens the second scores. Take all log-probabilities of the loss from one call, and put others under "
                "torch.no_grad()"
            )
        return capture.applied

    def _heard(
        self, forward: Any, arguments: Any, kwargs: Any, want: frozenset[Want], factor: float, gradient: bool
    ) -> tuple[tuple[Any, ...], TokenStats]:
        """What a forward pass at `factor` times the run's temperature returns, and the statistics measured beside it, (B, T)."""
        model, input_ids, attention_mask, columns, *_ = arguments
        labels = head.completion_labels(attention_mask, columns)
        sampling = self._sampling.times(factor)

        def measure(seen: head.Projection) -> TokenStats:
            with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
                return sampling.stats(seen, want, seen.rows_of(labels))

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
