"""TRL: `predicted(GRPOTrainer, every=10)` predicts on every tenth step what the step does to the entropy, and checks it.

How it hooks in: while the losses of a step to be predicted are computed, each micro-batch's forward call is kept, and the
log-probabilities and entropies that it returned keep their gradients. After the backward pass these gradients say what the loss,
whatever its form, wants of every token. The step is evaluated between its last backward pass and the clipping of its gradients,
and again after the optimizer has stepped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import TrainerCallback

from entrostat.attribution.prediction import Look, MicroBatch, StepPrediction, before_step
from entrostat.control.numbers import whole
from entrostat.errors import ConfigError, HostError
from entrostat.hosts.trl import head
from entrostat.hosts.trl.rollouts import completion_mask
from entrostat.types import TokenStats

PREFIX = "entropy_prediction"
OnPrompts = Callable[[Mapping[str, Any]], None]


def predicted(
    trainer_class: type,
    every: int,
    nodes: int = 0,
    visited_states: bool = False,
    on_prompts: OnPrompts | None = None,
) -> type:
    """A subclass of a TRL trainer that predicts every so many optimizer steps how the policy entropy moves, and why.

        Trainer = es.trl.controlled(predicted(GRPOTrainer, every=10), es.hold(target=0.3))

    It works with or without control, and the trained model stays the same to the last bit. Metrics `entropy_prediction/...` join
    TRL's own log at the first step and every `every` steps after it. Such a step costs about as much as two to three more; the
    others cost nothing.

    Args:
        trainer_class: `GRPOTrainer`, `RLOOTrainer` or a subclass.
        every: optimizer steps from one prediction to the next.
        nodes: also integrate along the step, with 1 to 3 nodes, and make the account of that (`attribution.prediction`).
        visited_states: also the change through the visited states, an estimate (`attribution.visited`).
        on_prompts: a function that gets every prompt's contribution at each predicted step, as plain JSON values: `step`,
            `predicted`, `measured`, and `prompts` with `prompt` and `contribution`, the largest first.

    Raises:
        ConfigError: `every` is below 1, or another number of nodes.
        HostError: on construction, if the policy's parameters are spread over processes (FSDP, DeepSpeed, tensor parallelism) or
            gradients are scaled (fp16), and for `on_prompts` with several processes or in half precision.
    """
    whole(
        "every", every, "a whole number of optimizer steps, at least 1 (to predict nothing, leave the prediction out)"
    )
    if nodes not in range(4):
        raise ConfigError(f"nodes must be 0, 1, 2 or 3, got {nodes!r}")
    settings = _Settings(every, nodes, visited_states, on_prompts)
    return type(
        f"Predicted{trainer_class.__name__}",
        (_Predicted, trainer_class),
        {"_prediction": settings, "__doc__": trainer_class.__doc__},
    )


@dataclass(frozen=True)
class _Settings:
    every: int
    nodes: int
    visited_states: bool
    on_prompts: OnPrompts | None


@dataclass
class _Recorded:
    """One forward pass of a due step."""

    inputs: dict[str, Any]
    evaluate: Callable[[], TokenStats] | None = None
    logp: Tensor | None = None
    entropies: list[Tensor] = field(default_factory=list)

    def retain_entropy(self, value: Tensor | None) -> None:
        """Keep the gradient that the loss asks of the entropy: TRL's own value, and the one that control measured."""
        if value is not None and value.requires_grad:
            value.retain_grad()
            self.entropies.append(value)


class _Predicted:
    """Mixin over a TRL trainer; see `predicted`."""

    _prediction: _Settings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        head.install()
        super().__init__(*args, **kwargs)
        host: Any = self
        self._recording: _Recorded | None = None
        self._recorded: list[_Recorded] = []
        self._look: Look | None = None
        self._seconds = 0.0
        self._shares = _check_host(host, self._prediction)
        host.add_callback(_AfterStep(self))

    # -- recording the step --------------------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        host: Any = self
        if not host.model.training or host.state.global_step % self._prediction.every:
            loss: Tensor = super()._compute_loss(model, inputs)  # type: ignore[misc]
            return loss
        self._recording = recorded = _Recorded(inputs)
        try:
            loss = super()._compute_loss(model, inputs)  # type: ignore[misc]
        finally:
            self._recording = None
        if recorded.logp is None:
            raise HostError(
                f"{type(self).__name__} computed a loss without _get_per_token_logps_and_entropies: its step cannot be predicted"
            )
        self._recorded.append(recorded)
        return loss

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Any, ...]:
        forward = super()._get_per_token_logps_and_entropies  # type: ignore[misc]
        recorded = self._recording
        found: tuple[Any, ...] = forward(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        if recorded is None or recorded.logp is not None:
            return found
        recorded.logp = found[0]
        if found[0].requires_grad:
            found[0].retain_grad()
        recorded.retain_entropy(found[1])
        host: Any = self
        plain = host.accelerator.unwrap_model(model)
        labels = head.completion_labels(attention_mask, logits_to_keep)

        def measure(seen: head.Projection) -> TokenStats:
            wanted = frozenset({"logp", "entropy", "baseline"})
            return seen.stats(wanted, host.temperature, seen.rows_of(labels))

        def evaluate() -> TokenStats:
            with head.listening(plain, measure, input_ids, logits_to_keep) as heard:
                forward(plain, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
            return head.completion_rows(heard, labels, logits_to_keep)

        recorded.evaluate = evaluate
        return found

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = super().training_step(*args, **kwargs)  # type: ignore[misc]
        host: Any = self
        if self._recorded and host.accelerator.sync_gradients:
            started = time.perf_counter()
            settings = self._prediction
            labeled = settings.on_prompts is not None or settings.visited_states
            batches = [_micro_batch(each, labeled) for each in self._recorded]
            self._recorded = []
            processes = host.accelerator.num_processes
            with _evaluating(host.model):
                reduce = host.accelerator.reduce if processes > 1 else None
                self._look = before_step(batches, _plain_optimizer(host), reduce, processes)
            self._seconds = time.perf_counter() - started
        return loss

    # -- after the step ------------------------------------------------------------------------------------------------

    def _after_step(self) -> None:
        look, self._look = self._look, None
        host: Any = self
        if look is None or host.accelerator.optimizer_step_was_skipped:
            return
        started = time.perf_counter()
        settings = self._prediction
        with _evaluating(host.model):
            step = look.after_step(self._shares, settings.nodes, settings.visited_states)
        seconds = self._seconds + time.perf_counter() - started
        for name, value in (step.metrics() | {"seconds": seconds}).items():
            host._metrics["train"][f"{PREFIX}/{name}"].append(value)
        if settings.on_prompts is not None:
            settings.on_prompts(_by_prompt(host.state.global_step + 1, step, host.processing_class))


class _AfterStep(TrainerCallback):
    """Tells the trainer that its optimizer has stepped, while the gradients are still there."""

    def __init__(self, trainer: _Predicted) -> None:
        self.trainer = trainer

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer._after_step()


def _check_host(host: Any, settings: _Settings) -> Literal["difference", "backward"]:
    """How contributions are to be computed; `HostError` where nothing can be predicted."""
    kind = str(getattr(host.accelerator.distributed_type, "value", host.accelerator.distributed_type))
    if kind != "NO" and not kind.startswith("MULTI_"):
        raise HostError(
            f"the prediction needs whole parameters on every process, but this run is distributed by {kind}: "
            "leave it out, or use plain data parallelism"
        )
    if host.args.n_gpu > 1:
        raise HostError("the prediction does not work under torch.nn.DataParallel: start one process per device")
    if host.accelerator.mixed_precision == "fp16":
        raise HostError("the prediction does not know fp16's scaled gradients: use bf16 or fp32")
    dtypes = {p.dtype for p in host.model.parameters() if p.requires_grad}
    exact = host.accelerator.mixed_precision == "no" and dtypes <= {torch.float32, torch.float64}
    if settings.on_prompts is not None and not (exact and kind == "NO"):
        raise HostError(
            f"contributions by prompt need one process and fp32, got {host.accelerator.num_processes} processes, "
            f"{host.accelerator.mixed_precision!r} precision and {sorted(map(str, dtypes))}: leave on_prompts out"
        )
    return "difference" if exact else "backward"


def _plain_optimizer(host: Any) -> torch.optim.Optimizer:
    """torch's own optimizer, out of the host's wrapper."""
    optimizer: torch.optim.Optimizer = getattr(host.optimizer, "optimizer", host.optimizer)
    return optimizer


def _micro_batch(recorded: _Recorded, labeled: bool) -> MicroBatch:
    inputs, logp = recorded.inputs, recorded.logp
    assert logp is not None and recorded.evaluate is not None
    pushes = [entropy.grad for entropy in recorded.entropies if entropy.grad is not None]
    advantages = inputs["advantages"]  # as the method under control has left them
    prompts = None
    if labeled:
        pairs = zip(inputs["prompt_ids"].tolist(), inputs["prompt_mask"].tolist(), strict=True)
        prompts = [tuple(i for i, m in zip(ids, masks, strict=True) if m) for ids, masks in pairs]
    return MicroBatch(
        evaluate=recorded.evaluate,
        mask_BT=completion_mask(inputs),
        push_logp_BT=torch.zeros_like(logp) if logp.grad is None else logp.grad,
        advantages_BT=advantages if advantages.dim() == 2 else advantages.unsqueeze(1),
        push_entropy_BT=torch.stack(pushes).sum(0) if pushes else None,
        prompts=prompts,
    )


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """While inside, the model is in evaluation mode: without dropout the same tokens give the same numbers."""
    model.eval()
    try:
        yield
    finally:
        model.train()


def _by_prompt(number: int, step: StepPrediction, tokenizer: Any) -> dict[str, Any]:
    parts = sorted(step.prompts.items(), key=lambda item: -abs(item[1]))
    rows = [{"prompt": tokenizer.decode(list(ids)), "contribution": value} for ids, value in parts]  # type: ignore[call-overload]
    return {"step": number, "predicted": step.predicted, "measured": step.measured, "prompts": rows}
