"""TRL: `controlled(GRPOTrainer, method)` returns a trainer class that holds the policy's entropy.

The seam. TRL's `_compute_loss` first calls `_get_per_token_logps_and_entropies` and only then reads
`inputs["advantages"]`, which it accepts per token. So the statistics of that very forward pass can reweight the
advantages of that very batch, and no second pass is needed. `RLOOTrainer` takes one advantage per sequence; there the
gradient of each token's log-probability is scaled instead, which is the same thing for its loss.

The baseline statistic is computed by the head that TRL's forward calls, swapped for ours while it runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from entrostat.core.control import EntropyControl
from entrostat.errors import HostError, MissingStatistic, NotInstalled
from entrostat.methods import Chain, Link
from entrostat.stats import token_stats_from_hidden
from entrostat.types import Surrogate, Term, TokenBatch, TokenStats

try:
    import trl
    import trl.trainer.utils as trl_utils
    from packaging.version import Version
except ImportError as error:
    raise NotInstalled("entrostat.trl needs TRL: pip install 'entrostat[trl]'") from error

OLDEST = "1.16"
_HEAD = "_ChunkedLogProbFunction"
_REWARDS = "entrostat_rewards"
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
        HostError: TRL is too old or its seam has moved; on construction, where TRL's own entropy options are on.
    """
    _check_host(trainer_class)
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


def _check_host(trainer_class: type) -> None:
    if Version(trl.__version__) < Version(OLDEST):
        raise HostError(f"entropy control needs TRL {OLDEST} or newer, found {trl.__version__}: pip install -U trl")
    for name in ("_get_per_token_logps_and_entropies", "_compute_loss", "_generate_and_score_completions"):
        if not hasattr(trainer_class, name):
            raise HostError(
                f"{trainer_class.__name__} (TRL {trl.__version__}) has no {name}: entropy control works with "
                "GRPOTrainer, RLOOTrainer and their subclasses"
            )
    if not hasattr(trl_utils, _HEAD):
        raise HostError(f"TRL {trl.__version__} has moved its fused head ({_HEAD}): entrostat needs an update for it")


def _check_settings(args: Any) -> None:
    """Two controllers on one signal fight: refuse TRL's own entropy options beside ours."""
    conflicts = {
        "use_adaptive_entropy": (
            False,
            "TRL's adaptive entropy controls the same entropy; its method here is 'skywork'",
        ),
        "entropy_coef": (0.0, "TRL's entropy bonus moves the same entropy; here it is 'entropy_bonus'"),
        "top_entropy_quantile": (1.0, "TRL's entropy mask drops tokens that the controller counts on"),
        "use_liger_loss": (False, "a Liger loss never computes the statistics that control needs"),
    }
    for name, (neutral, why) in conflicts.items():
        value = getattr(args, name, neutral)
        if value is not None and value != neutral:
            raise HostError(f"TRL's {name}={value!r} stands beside Entrostat's control: {why}. Set {name}={neutral!r}")
    liger = getattr(args, "liger_kernel_config", None) or {}
    if liger.get("fused_linear_cross_entropy"):
        raise HostError(
            "TRL's liger_kernel_config={'fused_linear_cross_entropy': True} stands beside Entrostat's control: a Liger loss "
            "never computes the statistics that control needs. Leave it out"
        )


@dataclass
class _Capture:
    """What one loss computation hands from the forward pass to the advantages and to the added terms."""

    inputs: dict[str, Any]
    terms: tuple[Term, ...] = ()
    applied: bool = False
    heads: list[TokenStats] = field(default_factory=list)


class _Controlled:
    """Mixin over a TRL trainer; see `controlled`."""

    _entropy_method: Chain | Link
    _resume_state: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        bound = inspect.signature(super().__init__).bind_partial(*args, **kwargs)
        if (config := bound.arguments.get("args")) is not None:
            _check_settings(config)
        super().__init__(*args, **kwargs)
        host: Any = self
        _check_settings(host.args)
        vocabulary = host.model.config.get_text_config().vocab_size
        # TRL computes old log-probabilities exactly where sampling and updates can be out of step.
        every = getattr(host.args, "steps_per_generation", 1) * getattr(host, "num_iterations", 1)
        aligned = host.args.gradient_accumulation_steps % every == 0
        self.entropy_control = EntropyControl(self._entropy_method, vocabulary, on_policy=aligned)
        self._capture: _Capture | None = None
        self._reward_sums: Tensor | None = None
        self._factor = 1.0

    # -- the forward pass and the loss ---------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        host: Any = self
        if not host.model.training:
            return super()._compute_loss(model, inputs)  # type: ignore[misc]
        # A copy: TRL keeps the batch for its next iteration, which must find its own advantages.
        self._capture = capture = _Capture(dict(inputs))
        clip_range = host.epsilon_low, host.epsilon_high
        try:
            loss = super()._compute_loss(model, capture.inputs)  # type: ignore[misc]
        finally:
            host.epsilon_low, host.epsilon_high = clip_range
            self._capture = None
        if not capture.applied:
            raise MissingStatistic(
                f"{type(self).__name__} computed a loss without a forward pass through TRL's fused head: the statistics that "
                f"{self.entropy_control.method.name!r} needs ({sorted(self.entropy_control.method.requires)}) are missing"
            )
        for term in capture.terms:
            loss = loss + self._spread(term, capture.inputs)
        if host.accelerator.sync_gradients:
            for name, value in self.entropy_control.step().items():
                host._metrics["train"][name].append(value)
        return loss

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Any, ...]:
        forward = super()._get_per_token_logps_and_entropies  # type: ignore[misc]
        capture = self._capture
        if capture is None or capture.applied:
            with _at(self._factor):
                return forward(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        want = self.entropy_control.method.requires
        labels = attention_mask[:, 1:].bool().clone()
        labels[:, :-logits_to_keep] = False
        more = sorted(want - {"logp", "entropy"})  # than TRL computes itself
        # A batch is scored at the temperature at which it was sampled, which may be some updates ago.
        sampled = float(capture.inputs[_TEMPERATURE][0]) if _TEMPERATURE in capture.inputs else 1.0
        with _our_head(capture.heads, want, labels) if more else nullcontext(), _at(sampled):
            logp, entropy, *rest = forward(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        extra = {name: _of_heads(capture.heads, name, labels, logits_to_keep) for name in more}
        stats = TokenStats(logp=logp, entropy=entropy, **extra)
        logp = self._control(capture, stats, logp)
        return (logp, entropy, *rest)

    def _control(self, capture: _Capture, stats: TokenStats, logp: Tensor) -> Tensor:
        """Apply the method to this micro-batch: advantages, clip range and terms; returns the log-probabilities."""
        host: Any = self
        inputs = capture.inputs
        mask = inputs["completion_mask"]
        if "tool_mask" in inputs:
            mask = mask * inputs["tool_mask"]
        advantages = inputs["advantages"]
        batch = TokenBatch(stats, advantages, mask, inputs.get("old_per_token_logps"), inputs.get(_REWARDS))
        plain = Surrogate("ppo", batch.advantages_BT, eps_low=host.epsilon_low, eps_high=host.epsilon_high)
        changed = self.entropy_control.apply(plain, batch)
        capture.applied, capture.terms = True, changed.terms
        host.epsilon_low, host.epsilon_high = _alike(changed.eps_low, changed.eps_high)
        weight = self._weight(changed, batch)
        per_sequence = "old_logps" in inputs
        if changed.advantages_BT is not batch.advantages_BT:
            inputs["advantages"] = changed.advantages_BT[:, 0] if per_sequence else changed.advantages_BT
        if weight is None:
            return logp
        if per_sequence:
            # The value stays, the gradient of each token is scaled: RLOO's loss sees only sums over the sequence.
            return weight * logp + (1 - weight) * logp.detach()
        inputs["advantages"] = changed.advantages_BT * weight
        return logp

    def _weight(self, changed: Surrogate, batch: TokenBatch) -> Tensor | None:
        """Weights and dropped tokens as one factor per token; None where nothing is changed.

        A dropped token also leaves the denominator of a mean over tokens. TRL's denominators are fixed before the loss, so
        the kept tokens are scaled up instead, within this micro-batch (each sequence, where the mean is per sequence).
        """
        if changed.keep_BT is None:
            return changed.weight_BT
        kept = batch.mask & changed.keep_BT
        weight = kept.to(batch.advantages_BT.dtype)
        kind = getattr(self, "loss_type", "rloo")
        if kind in ("grpo", "sapo"):
            weight = weight * batch.mask.sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp_min(1)
        elif kind in ("bnpo", "dapo", "cispo", "vespo"):
            weight = weight * batch.mask.sum() / kept.sum().clamp_min(1)
        return weight if changed.weight_BT is None else weight * changed.weight_BT

    def _spread(self, term: Term, inputs: dict[str, Any]) -> Tensor:
        """A term's share of the optimizer step's mean in this micro-batch on this process."""
        host: Any = self
        accumulation = host.current_gradient_accumulation_steps
        if term.over == "step" and "num_items_in_batch" in inputs:
            # As TRL's own token mean: the step's tokens over all processes, whose gradients are averaged.
            tokens = inputs["num_items_in_batch"].clamp(min=1.0) / host.accelerator.num_processes
            tokens = tokens * accumulation / host.args.steps_per_generation
            return term.coef * term.value_BT.masked_fill(~term.mask_BT.bool(), 0).sum() / tokens
        return term.loss() / (accumulation if host.loss_is_scaled_for_ga else 1)

    # -- temperature ---------------------------------------------------------------------------------------------------

    def _sample_at(self, factor: float) -> None:
        """Sample from now on at `factor` times the temperature that the run was given."""
        host: Any = self
        self._factor = factor
        host.temperature = host.args.temperature * factor
        for sampler in ("generation_config", "vllm_generation"):
            if getattr(host, sampler, None) is not None:
                getattr(host, sampler).temperature = host.temperature

    # -- rewards, for methods that build their own advantages ----------------------------------------------------------

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        per_function = super()._calculate_rewards(*args, **kwargs)  # type: ignore[misc]
        host: Any = self
        self._reward_sums = (per_function * host.reward_weights.to(per_function.device).unsqueeze(0)).nansum(1)
        return per_function

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        moves = self.entropy_control.method.sets_temperature
        if moves:
            self._sample_at(self.entropy_control.temperature)
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        if moves:
            rows = output["completion_mask"][:, 0]
            output[_TEMPERATURE] = torch.full_like(rows, self._factor, dtype=torch.float32)
        if self.entropy_control.method.needs_rewards and self._reward_sums is not None:
            host: Any = self
            rows = len(output["completion_ids"])
            first = host.accelerator.process_index * rows
            output[_REWARDS] = self._reward_sums[first : first + rows]
        return output

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


@contextmanager
def _swapped(head: type) -> Iterator[None]:
    """While inside, TRL's fused forward projects through `head`."""
    original = getattr(trl_utils, _HEAD)
    setattr(trl_utils, _HEAD, head)
    try:
        yield
    finally:
        setattr(trl_utils, _HEAD, original)


def _at(factor: float) -> AbstractContextManager[None]:
    """While inside, TRL's fused forward divides by `factor` times the temperature that it was made with."""
    if factor == 1:
        return nullcontext()
    original = getattr(trl_utils, _HEAD)

    class Head:
        @staticmethod
        def apply(hidden: Tensor, weight: Tensor, bias: Any, targets: Tensor, temperature: float, *rest: Any) -> Any:
            return original.apply(hidden, weight, bias, targets, temperature * factor, *rest)

    return _swapped(Head)


def _our_head(heads: list[TokenStats], want: frozenset[str], labels: Tensor) -> AbstractContextManager[None]:
    """While inside, TRL's fused forward projects through `token_stats_from_hidden`, which also keeps what we want."""
    names = want | {"logp", "entropy"}

    class Head:
        @staticmethod
        def apply(
            hidden: Tensor,
            weight: Tensor,
            bias: Tensor | None,
            targets: Tensor,
            temperature: float,
            chunk_size: int,
            softcap: float | None = None,
            logit_scale: float = 1.0,
            outputs: tuple[str, ...] = (),
        ) -> tuple[Tensor | None, ...]:
            # Off Triton devices TRL passes every position; those without a label need no statistics.
            rows = labels.reshape(-1) if len(hidden) == labels.numel() else None
            stats = token_stats_from_hidden(
                hidden, weight, targets, names, temperature, bias, logit_scale, softcap, rows
            )
            heads.append(stats)
            return stats.logp, stats.entropy, None, None, None

    return _swapped(Head)


def _of_heads(heads: list[TokenStats], name: str, labels: Tensor, columns: int) -> Tensor:
    """A statistic of the completion tokens, (B, T), from the head's rows."""
    if not heads:
        raise MissingStatistic(
            f"the model's forward did not call TRL's fused head, so the statistic {name!r} is missing: leave the trainer's "
            "_get_per_token_logps_and_entropies and the model's forward as TRL makes them, or use a method without it"
        )
    flat = torch.cat([head.need(name) for head in heads])
    if len(flat) == labels.numel():
        return flat.view(labels.shape)[:, -columns:]
    if len(flat) == int(labels.sum()):
        return flat.new_zeros(labels.shape).masked_scatter(labels, flat)[:, -columns:]
    raise MissingStatistic(
        f"TRL's fused head scored {len(flat)} positions, expected {int(labels.sum())} labels or all {labels.numel()}: "
        "prompt-learning adapters are not supported"
    )


def _alike(low: float | Tensor, high: float | Tensor) -> tuple[Any, Any]:
    """Both as numbers or both as tensors: torch.clamp takes no mixture."""
    for like in (low, high):
        if isinstance(like, Tensor):
            return torch.as_tensor(low).to(like), torch.as_tensor(high).to(like)
    return low, high
