"""What control in TRL refuses: classes without the seam, rival settings, losses it cannot express, a loss it never sees."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import trl
from transformers import TrainerCallback

from entrostat.control.knob import is_feedback
from entrostat.core.host import check_completions, check_ignored, check_replaced
from entrostat.errors import HostError
from entrostat.hosts.trl.advantages import advantages_given
from entrostat.hosts.trl.loss import Loss, check_loss, clip_given
from entrostat.methods import Chain

_WEIGHING = {"weight_BT", "keep_BT", "stopped_BT", "form", "advantages_BT", "advantages"}


def check_class(trainer_class: Any) -> None:
    """Refuse what is not a trainer class, is controlled already, or lacks the methods that control needs."""
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
    if (method := getattr(trainer_class, "_entropy_method", None)) is not None:
        raise HostError(
            f"{trainer_class.__name__} is already controlled, by {method.name!r}: two controllers would work against each other. "
            "Apply controlled once; es.chain(a, b) joins methods"
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
            "input_ids, attention_mask, logits_to_keep: Entrostat cannot know which tokens it scores (ms-swift's trainer is like "
            "this). Use TRL's GRPOTrainer, or a subclass that keeps TRL's signature"
        )
    unsloth = [cls.__name__ for cls in trainer_class.__mro__ if cls.__name__.lstrip("_").startswith("Unsloth")]
    if unsloth:
        raise HostError(
            f"{unsloth[0]} is Unsloth's replacement of TRL's trainer: its compute_loss computes hidden states and the loss "
            "itself, in one compiled function, so Entrostat cannot measure or change anything in it. Use TRL's GRPOTrainer, "
            "imported before Unsloth patches it"
        )


def check_settings(args: Any, acts: bool) -> None:
    """Refuse TRL's own entropy options beside a method that acts: two controllers would work against each other."""
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


def check_arguments(args: Any, method: Chain) -> None:
    """Refuse TRL's own entropy options beside a method that acts, and what the method would leave without effect."""
    check_settings(args, acts=bool(method.writes))
    check_ignored(method, advantages_given(args))
    check_completions(method, "num_generations", args.num_generations)


def check_adapter(host: Any) -> None:
    """Refuse an adapter that moves the completion's positions."""
    for name, adapter in (getattr(host.model, "peft_config", None) or {}).items():
        if getattr(adapter, "is_prompt_learning", False):
            raise HostError(
                f"the adapter {name!r} is a {type(adapter).__name__}, which puts virtual tokens before the prompt: TRL's head "
                "then scores other positions than the completion's. Use LoRA or another adapter of the weights"
            )


def check_objective(host: Any, loss: Loss, method: Chain, writes: frozenset[str]) -> None:
    """Refuse at construction what this trainer's loss cannot express; warn of what it ignores."""
    moved = {name for link in method.links for name, knob in link.knobs.items() if is_feedback(knob)}
    clips = writes & {"eps_low", "eps_high"}
    check_replaced(method, clip_given(host.args, loss))
    ignored = check_loss(host, loss, method, bool(writes & _WEIGHING), clips, frozenset(moved) & clips)
    for name in ignored:
        warnings.warn(
            f"loss_type={loss.name!r} has no {name}: {method.name!r} acts only through the other end of the clip",
            stacklevel=4,
        )


class Watch(TrainerCallback):
    """Ends a run in which an optimizer step is not one controller step."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.losses = self.steps = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # A run that broke off between two micro-batches has left an unfinished step.
        self.trainer.entropy_control.discard()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        name, losses, steps = type(self.trainer).__name__, self.trainer._losses, self.trainer._controller_steps
        if losses == self.losses:
            raise HostError(
                f"{name} took an optimizer step without calling _compute_loss, so nothing was measured or controlled: its "
                "compute_loss computes another loss (as Unsloth's does). Move that loss into _compute_loss and let it take its "
                "log-probabilities from _get_per_token_logps_and_entropies"
            )
        if steps - self.steps != 1:
            raise HostError(
                f"{name} took one optimizer step and the controller {steps - self.steps}: the controller steps in the "
                "_compute_loss of a step's last micro-batch, where accelerator.sync_gradients is true. Call _compute_loss once "
                "for each micro-batch, and leave the accumulation of gradients to transformers' Trainer"
            )
        self.losses, self.steps = losses, steps
