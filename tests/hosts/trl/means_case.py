"""Runs of two steps whose micro-batches differ in length, and what their own backward passes do to the entropy."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from hosts.trl.trl_case import prescribed, trainer, watching

import entrostat as es

LENGTHS = prescribed(lambda prompt, sample: "12+3=456-78*9"[: 1 + (3 * sample + 2 * prompt + prompt // 2) % 7])
"""Completions of 1 to 7 characters: those of more than 5 are longer than what is allowed, with the end."""


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
}
ON_RANKS = ("bnpo, truncated", "grpo, truncated", "dapo, several steps of a generation")
METHODS = {
    "observe": es.observe(),
    "weights": es.chain(es.methods.Flow(0.5, scope="micro")),
    "drops": es.clip_b(mu=0.3, scope="micro"),
    "a term of each micro-batch": es.entropic(target=1.0, kp=5.0, select="all"),
}


class Truncating(LENGTHS):
    def _generate_single_turn(self, *args, **kwargs):
        ids, rest = super()._generate_single_turn(*args, **kwargs)
        return [each[: self.max_completion_length] for each in ids], rest


def run_of(directory, case, method, **settings):
    """A trainer of two steps of four micro-batches, and the list that its batches come to."""
    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4} | settings | case
    run = trainer(
        directory,
        watching(Truncating),
        reward=by_length,
        wrap=lambda cls: es.trl.controlled(cls, method),
        max_completion_length=5,
        max_steps=2,
        learning_rate=1e-2,
        **settings,
    )
    seen, apply = [], run.entropy_control.apply

    def spy(surrogate, batch):
        seen.append(batch)
        return apply(surrogate, batch)

    run.entropy_control.apply = spy
    return run, seen


def changes_of(run, seen):
    """What the backward passes of each step did to the entropy, to first order."""
    each = [
        -float((push * batch.stats.detach().centered * batch.mask).sum())
        for push, batch in zip(run.pushes, seen, strict=True)
    ]
    return [sum(each[:4]), sum(each[4:])]


def main(directory: str) -> None:
    """Train each case under each method; every rank writes down its changes of entropy, its state and what was logged."""
    torch.set_num_threads(1)
    records = {}
    for case in ON_RANKS:
        for name in ("drops", "a term of each micro-batch"):
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
