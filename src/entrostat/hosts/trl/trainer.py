"""TRL: `controlled(GRPOTrainer, method)` returns a trainer class that holds the policy's entropy.

The seam. TRL's `_compute_loss` first calls `_get_per_token_logps_and_entropies` and computes its loss from the
log-probabilities that this returns. The statistics of that very forward pass are measured beside it (`head`), and the
method's weights scale the gradient of the log-probabilities (`loss`): no second pass, and no assumption on the loss but that it
depends on the policy through them.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from entrostat.control.knob import is_feedback
from entrostat.core.control import EntropyControl
from entrostat.core.host import check_replaced
from entrostat.errors import HostError, MissingStatistic, NotInstalled
from entrostat.methods import Chain, Link, chain
from entrostat.types import Old, Term, TokenBatch, TokenStats, Want

try:
    import trl
    from transformers import TrainerCallback
except ImportError as error:
    raise NotInstalled("entrostat.trl needs TRL: pip install 'entrostat[trl]'") from error

from entrostat.hosts.trl import head
from entrostat.hosts.trl.express import express, host_of, objective_of, restore, restoring
from entrostat.hosts.trl.loss import Loss, check_loss, clip_given, loss_of
from entrostat.hosts.trl.rollouts import ADVANTAGES, GROUPS, REWARDS, TEMPERED, identify, score
from entrostat.hosts.trl.sampling import Sampling, sample_at, sampling_of
from entrostat.hosts.trl.tempered import rows_at, tempered_rows

_OLD = "entrostat_old/"
_TEMPERATURE = "entrostat_temperature"
_WEIGHING = {"weight_BT", "keep_BT", "stopped_BT", "form", "advantages_BT", "advantages"}


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
    """
    _check_class(trainer_class)
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


def _check_class(trainer_class: Any) -> None:
    if isinstance(trainer_class, str):
        raise HostError(
            f"controlled takes a trainer class, got the string {trainer_class!r}: import the class and pass it, as in "
            "controlled(GRPOTrainer, method)"
        )
    if not isinstance(trainer_class, type):
        raise HostError(
            f"controlled takes a trainer class, got an instance of {type(trainer_class).__name__}: make the controlled class "
            "first and construct that, as in controlled(GRPOTrainer, method)(model=..., args=...)"
        )
    if issubclass(trainer_class, _Controlled):
        raise HostError(
            f"{trainer_class.__name__} is under control already, of {trainer_class._entropy_method.name!r}: two controllers on "
            "one signal fight. Apply controlled once; es.chain(a, b) joins methods"
        )
    for name in ("_get_per_token_logps_and_entropies", "_compute_loss", "_generate_and_score_completions"):
        if not hasattr(trainer_class, name):
            raise HostError(
                f"{trainer_class.__name__} (TRL {trl.__version__}) has no {name}: entropy control works with "
                "GRPOTrainer, RLOOTrainer and their subclasses"
            )
    _check_seam(trainer_class)


def _check_seam(trainer_class: type) -> None:
    """The seam is known by its signatures, not by a version number; other tools' replacements are refused by what they do."""
    forward = inspect.signature(trainer_class._get_per_token_logps_and_entropies).parameters  # type: ignore[attr-defined]
    loose = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in forward.values())
    if not loose and list(forward)[1:5] != ["model", "input_ids", "attention_mask", "logits_to_keep"]:
        raise HostError(
            f"{trainer_class.__name__}._get_per_token_logps_and_entropies takes {list(forward)[1:5]}, expected model, "
            "input_ids, attention_mask, logits_to_keep: which tokens it scores cannot be told (ms-swift's trainer, whose batch "
            "is an object of its own, is such a one). Use TRL's GRPOTrainer, or a subclass that keeps TRL's signature"
        )
    unsloth = [cls.__name__ for cls in trainer_class.__mro__ if cls.__name__.lstrip("_").startswith("Unsloth")]
    if unsloth:
        raise HostError(
            f"{unsloth[0]} is Unsloth's replacement of TRL's trainer: its compute_loss computes hidden states and the loss "
            "itself, in one compiled function, so that neither log-probabilities nor statistics can be had. Use TRL's "
            "GRPOTrainer, imported before Unsloth patches it"
        )


def check_settings(args: Any, acts: bool) -> None:
    """Two controllers on one signal fight: refuse TRL's own entropy options beside ours. Measuring is always allowed."""
    conflicts = {
        "use_adaptive_entropy": (
            False,
            "TRL's adaptive entropy controls the same entropy; its method here is 'skywork'",
        ),
        "entropy_coef": (0.0, "TRL's entropy bonus moves the same entropy; here it is 'entropy_bonus'"),
        "top_entropy_quantile": (1.0, "TRL's entropy mask drops tokens that the controller counts on"),
    }
    blind = "a Liger loss never computes the statistics that are measured"
    for name, (neutral, why) in (conflicts if acts else {}).items() | {"use_liger_loss": (False, blind)}.items():
        value = getattr(args, name, neutral)
        if value is not None and value != neutral:
            raise HostError(f"TRL's {name}={value!r} stands beside Entrostat's control: {why}. Set {name}={neutral!r}")
    liger = getattr(args, "liger_kernel_config", None) or {}
    if liger.get("fused_linear_cross_entropy"):
        raise HostError(
            "TRL's liger_kernel_config={'fused_linear_cross_entropy': True} stands beside Entrostat's control: "
            f"{blind}. Leave it out"
        )


def _check_adapter(host: Any) -> None:
    for name, adapter in (getattr(host.model, "peft_config", None) or {}).items():
        if getattr(adapter, "is_prompt_learning", False):
            raise HostError(
                f"the adapter {name!r} is a {type(adapter).__name__}, which puts virtual tokens before the prompt: TRL's head "
                "then scores other positions than the completion's. Use LoRA or another adapter of the weights"
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


def _in_order(wants: frozenset[Want]) -> list[Want]:
    return sorted(wants, key=str)


class _Controlled:
    """Mixin over a TRL trainer; see `controlled`."""

    _entropy_method: Chain | Link
    _resume_state: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        method = self._entropy_method if isinstance(self._entropy_method, Chain) else chain(self._entropy_method)
        writes = method.writes
        bound = inspect.signature(super().__init__).bind_partial(*args, **kwargs)
        if (config := bound.arguments.get("args")) is not None:
            check_settings(config, acts=bool(writes))
        head.install()
        super().__init__(*args, **kwargs)
        host: Any = self
        check_settings(host.args, acts=bool(writes))
        _check_adapter(host)
        self._sampling: Sampling = sampling_of(host)
        self._loss: Loss = loss_of(host)
        _check_objective(host, self._loss, method, writes)
        vocabulary = host.model.config.get_text_config().vocab_size
        # TRL computes old log-probabilities exactly where sampling and updates can be out of step.
        every = getattr(host.args, "steps_per_generation", 1) * getattr(host, "num_iterations", 1)
        aligned = host.args.gradient_accumulation_steps % every == 0
        self.entropy_control = EntropyControl(
            self._entropy_method, vocabulary, on_policy=aligned, host=host_of(host, self._loss)
        )
        self._measured_gradient = any(name.startswith("terms/") for name in writes)
        self._capture: _Capture | None = None
        self._sampled: _Sampled | None = None
        self._reward_sums: Tensor | None = None
        self._factor = 1.0
        self._tempered: Tensor | None = None
        self._losses = 0
        host.add_callback(_Watch(self))

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
            loss = loss + self._spread(term, capture.batch, capture.inputs)
        if host.accelerator.sync_gradients:
            for name, value in self.entropy_control.step(fresh=self._fresh).items():
                host._metrics["train"][name].append(value)
        return loss

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Any, ...]:
        forward = super()._get_per_token_logps_and_entropies  # type: ignore[misc]
        capture, sampled = self._capture, self._sampled
        arguments = (model, input_ids, attention_mask, logits_to_keep, *args)
        if capture is not None and not capture.applied:
            # A batch is scored at the temperature at which it was sampled, which may be some updates ago.
            factor = float(capture.inputs[_TEMPERATURE][0]) if _TEMPERATURE in capture.inputs else 1.0
            want = self._current_want
            found, stats = self._heard(forward, arguments, kwargs, want, factor, self._measured_gradient)
            if (recording := getattr(self, "_recording", None)) is not None:
                recording.retain_entropy(stats.entropy)
            return (self._control(capture, stats, found[0]), *found[1:])
        if sampled is not None and sampled.stats is None:
            found, sampled.stats = self._heard(forward, arguments, kwargs, sampled.want, self._factor, False)
            return found
        with head.at_temperature(self, self._factor):
            passed: tuple[Any, ...] = forward(*arguments, **kwargs)
            return passed

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

    @property
    def _current_want(self) -> frozenset[Want]:
        """Statistics of the policy being trained; where ratios are 1 the old policy's are these."""
        return frozenset(want.of if isinstance(want, Old) else want for want in self.entropy_control.wants)

    def _control(self, capture: _Capture, stats: TokenStats, logp: Tensor) -> Tensor:
        """Apply the method to this micro-batch: weights, clip range and terms; returns the log-probabilities."""
        inputs = capture.inputs
        mask = inputs["completion_mask"]
        if "tool_mask" in inputs:
            mask = mask * inputs["tool_mask"]
        batch = self._batch(inputs, stats, logp, mask, self.entropy_control.records_tokens)
        plain = objective_of(self, self._loss, batch, inputs)
        changed = self.entropy_control.apply(plain, batch)
        capture.applied, capture.terms, capture.batch = True, changed.terms, batch
        return express(self, self._loss, plain, changed, batch, inputs, logp)

    def _batch(
        self, inputs: dict[str, Any], stats: TokenStats, logp: Tensor, mask: Tensor, recorded: bool = False
    ) -> TokenBatch:
        """What the method sees: values measured in fp32, the importance ratio and the gradient of `logp` TRL's own."""
        measured = stats.need("logp").detach()
        own = replace(stats, logp=measured + (logp - logp.detach()))
        old = inputs.get("old_per_token_logps")
        if old is not None:
            old = measured - (logp.detach() - old)
        told = _identity(inputs) if recorded else {}
        advantages = inputs.get(ADVANTAGES, inputs["advantages"])
        rewards, groups, tempered = (inputs.get(key) for key in (REWARDS, GROUPS, TEMPERED))
        return TokenBatch(own, advantages, mask, old, rewards, groups, self._old(inputs), tempered, **told)

    def _old(self, inputs: dict[str, Any]) -> TokenStats | None:
        """Statistics of the policy that sampled, where they were measured."""
        wants = _in_order(self._old_want)
        found = {want: inputs[f"{_OLD}{index}"] for index, want in enumerate(wants) if f"{_OLD}{index}" in inputs}
        if not found:
            return None
        named: dict[str, Any] = {want: value for want, value in found.items() if isinstance(want, str)}
        extra = {want: value for want, value in found.items() if not isinstance(want, str)}
        return TokenStats(**({"logp": inputs.get("old_per_token_logps")} | named), extra=extra)

    @property
    def _fresh(self) -> bool:
        """Whether this optimizer step is the first on its completions: TRL goes over a generation `num_iterations` times."""
        host: Any = self
        over, passes = getattr(host.args, "steps_per_generation", 1), getattr(host, "num_iterations", 1)
        whole = host.args.gradient_accumulation_steps >= over * passes  # a step is a generation or more
        return whole or (getattr(host, "_step", 0) // over) % passes == 0

    @property
    def _old_want(self) -> frozenset[Want]:
        """Statistics of the policy that sampled, besides its log-probabilities."""
        requires = self.entropy_control.method.requires
        return frozenset(want.of for want in requires if isinstance(want, Old) and want.of != "logp")

    def _spread(self, term: Term, batch: TokenBatch | None, inputs: dict[str, Any]) -> Tensor:
        """A term's share of the optimizer step's mean in this micro-batch on this process."""
        host: Any = self
        assert batch is not None
        accumulation = host.current_gradient_accumulation_steps
        if term.over == "step" and "num_items_in_batch" in inputs:
            # As TRL's own token mean: the step's tokens over all processes, whose gradients are averaged.
            tokens = inputs["num_items_in_batch"].clamp(min=1.0) / host.accelerator.num_processes
            tokens = tokens * accumulation / host.args.steps_per_generation
            return term.sum(batch) / tokens
        return term.loss(batch) / (accumulation if _scales_itself(host) else 1)

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
        old = self._old_want
        asked = old | method.of_rollouts if training else frozenset()
        self._sampled = sampled = _Sampled(asked | {"logp", "entropy"}) if asked else None
        try:
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
            scored = (
                "old_per_token_logps" in output or "old_logps" in output
            )  # then the first pass was the old policy's
            if sampled is not None and not scored:
                sampled.stats = None
                if method.of_rollouts:
                    self._score_again(output)
        finally:
            self._sampled = None
        if self._tempered is not None:
            output[TEMPERED] = self._tempered
        if method.sets_temperature:
            rows = output["completion_mask"][:, 0]
            output[_TEMPERATURE] = torch.full_like(rows, self._factor, dtype=torch.float32)
        if not training:
            return output
        identify(host, output)
        stats = sampled.stats if sampled is not None else None
        if self._reward_sums is not None:
            if "reward" in method.stages:
                score(host, self.entropy_control, output, self._reward_sums, stats, self._loss.mean)
            rows = len(output["completion_ids"])
            first = host.accelerator.process_index * rows
            output[REWARDS] = self._reward_sums[first : first + rows]
        if stats is not None and scored:
            output |= {f"{_OLD}{index}": stats.need(want) for index, want in enumerate(_in_order(old))}
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


def _identity(inputs: dict[str, Any]) -> dict[str, Any]:
    """Which tokens and prompts a micro-batch holds, for a record of them."""
    if "completion_ids" not in inputs:
        return {}
    prompts = zip(inputs["prompt_ids"], inputs["prompt_mask"].bool(), strict=True)
    return {"ids_BT": inputs["completion_ids"], "prompts_B": [ids[mask] for ids, mask in prompts]}


def _scales_itself(host: Any) -> bool:
    """Whether TRL's loss is divided by the number of micro-batches already; transformers 4 says so in another way."""
    said = getattr(host, "loss_is_scaled_for_ga", None)
    return host.compute_loss_func is not None if said is None else bool(said)


class _Watch(TrainerCallback):
    """Ends a run whose optimizer steps without a controller step: a loss that control never reached."""

    def __init__(self, trainer: _Controlled) -> None:
        self.trainer = trainer
        self.seen = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        losses = self.trainer._losses
        if losses == self.seen:
            raise HostError(
                f"{type(self.trainer).__name__} took an optimizer step without calling _compute_loss, so that nothing was "
                "measured and nothing controlled: its compute_loss computes a loss of its own (as Unsloth's does). Move that "
                "loss into _compute_loss and let it take its log-probabilities from _get_per_token_logps_and_entropies"
            )
        self.seen = losses


def _check_objective(host: Any, loss: Loss, method: Chain, writes: frozenset[str]) -> None:
    """Refuse at construction what this trainer's loss cannot express; warn of what it ignores."""
    moved = {name for link in method.links for name, knob in link.knobs.items() if is_feedback(knob)}
    clips = writes & {"eps_low", "eps_high"}
    check_replaced(method, clip_given(host.args, loss))
    ignored = check_loss(host, loss, method, bool(writes & _WEIGHING), clips, frozenset(moved) & clips)
    for name in ignored:
        warnings.warn(
            f"loss_type={loss.name!r} has no {name}: {method.name!r} acts by the other end alone", stacklevel=4
        )
