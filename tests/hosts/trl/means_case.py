"""Runs of two steps whose micro-batches differ in length, and what their own backward passes do to the entropy."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from hosts.trl.trl_case import prescribed, trainer, watching
from trl import GRPOTrainer, RLOOTrainer
from trl.experimental.gmpo import GMPOTrainer

import entrostat as es


def lengths(base=GRPOTrainer):
    """A trainer whose completions have 1 to 7 characters: those of more than 5 are longer than what is allowed, with the end."""
    return prescribed(lambda prompt, sample: "12+3=456-78*9"[: 1 + (3 * sample + 2 * prompt + prompt // 2) % 7], base)


def by_length(prompts, completions, **_):
    return [float(len(c) % 3 == 0) for c in completions]


CASES = {
    "bnpo": {"loss_type": "bnpo"},
    "bnpo, truncated": {"loss_type": "bnpo", "mask_truncated_completions": True},
    "grpo, truncated": {"loss_type": "grpo", "mask_truncated_completions": True},
    "sapo, truncated": {"loss_type": "sapo", "mask_truncated_completions": True},
    "dapo": {"loss_type": "dapo"},
    "dapo, several steps of a generation": {"loss_type": "dapo", "steps_per_generation": 8},
    "cispo, several steps of a generation": {"loss_type": "cispo", "steps_per_generation": 8, "epsilon_high": 1.2},
    "vespo": {"loss_type": "vespo"},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "gmpo": {"cls": GMPOTrainer},
    "dr_grpo": {"loss_type": "dr_grpo"},
    "dr_grpo, truncated": {"loss_type": "dr_grpo", "mask_truncated_completions": True},
    "dr_grpo, several steps of a generation": {"loss_type": "dr_grpo", "steps_per_generation": 8},
    "luspo": {"loss_type": "luspo", "importance_sampling_level": "sequence"},
    "rloo": {"cls": RLOOTrainer},
    "rloo, truncated": {"cls": RLOOTrainer, "mask_truncated_completions": True},
    "rloo, several steps of a generation": {"cls": RLOOTrainer, "steps_per_generation": 8},
}
ON_RANKS = ("bnpo, truncated", "grpo, truncated", "dapo, several steps of a generation", "dr_grpo", "rloo")
METHODS = {
    "observe": es.observe(),
    "weights": es.chain(es.methods.Flow(0.5, scope="micro")),
    "drops": es.clip_b(mu=0.3, scope="micro"),
    "drops by the vocabulary": es.clip_v(mu=0.3, largest_share=1.0, scope="micro"),
    "a bonus": es.chain(es.entropy_bonus(0.3), es.observe()),
    "hold": es.chain(es.hold(target=2.0, kp=1.0), es.observe()),
    "a term of each micro-batch": es.entropic(target=1.0, kp=5.0, select="all"),
}


def truncating(base):
    class Truncating(lengths(base)):
        def _generate_single_turn(self, *args, **kwargs):
            found = super()._generate_single_turn(*args, **kwargs)
            ids, *rest = found if isinstance(found, tuple) else (found,)
            ids = [each[: self.max_completion_length] for each in ids]
            return (ids, *rest) if rest else ids

    return Truncating


def run_of(directory, case, method, **settings):
    """A trainer of two steps of four micro-batches, and the list that its batches come to."""
    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4} | settings | case
    run = trainer(
        directory,
        watching(truncating(settings.pop("cls", GRPOTrainer))),
        reward=by_length,
        wrap=lambda cls: es.trl.controlled(cls, method),
        max_completion_length=5,
        max_steps=2,
        learning_rate=1e-2,
        **settings,
    )
    seen, apply = [], run.entropy_control.apply

    def spy(surrogate, batch):
        if batch.stats.entropy.requires_grad:
            batch.stats.entropy.retain_grad()
        seen.append(batch)
        return apply(surrogate, batch)

    run.entropy_control.apply = spy
    return run, seen


def changes_of(run, seen):
    """What the backward passes of each step did to the entropy, to first order."""
    each = [_change(push, batch) for push, batch in zip(run.pushes, seen, strict=True)]
    return [sum(each[:4]), sum(each[4:])]


def _change(push, batch):
    """By the gradient of a micro-batch's log-probabilities, and by that of its entropies."""
    stats, slope = batch.stats.detach(), batch.stats.entropy.grad
    change = -push * stats.centered
    if slope is not None:
        # |dH / dlogits|^2 as the sampled token tells it.
        change = change - slope * batch.ratio.detach() * stats.prob * (stats.entropy + stats.logp).square()
    return float((change * batch.mask).sum())


def main(directory: str) -> None:
    """Train each case under each method; every rank writes down its changes of entropy, its state and what was logged."""
    torch.set_num_threads(1)
    records = {}
    for case in ON_RANKS:
        for name in ("drops", "a bonus", "a term of each micro-batch"):
            run, seen = run_of(Path(directory), CASES[case], METHODS[name], per_device_train_batch_size=1)
            run.train()
            control = run.entropy_control
            records[f"{name} under {case}"] = {
                "changes": changes_of(run, seen),
                "logged": [e["entropy_control/predicted"] for e in run.state.log_history if "loss" in e],
                "state": control.method.state_to_dict(control.state),
                "steps": control.steps,
            }
    (Path(directory) / f"rank{os.environ['RANK']}.json").write_text(json.dumps(records))
