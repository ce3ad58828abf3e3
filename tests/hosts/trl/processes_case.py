"""One rank of a run whose completions are prescribed, so that every number of processes sees the same global batch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from hosts.trl.trl_case import prescribed, trainer, weights

import entrostat as es

Prescribed = prescribed(lambda prompt, sample: "12+3=456-78*9"[sample : sample + 2 + (sample + prompt) % 4])


def every_third_length(prompts, completions, **_):
    """Reward: 1 where the completion's length is a multiple of three."""
    return [float(len(c) % 3 == 0) for c in completions]


def main(directory: str, batch: int, accumulation: int) -> dict | None:
    """Train; the first rank returns the controller's state and what it measured, and writes them down."""
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", 0))

    run = trainer(
        Path(directory),
        Prescribed,
        reward=every_third_length,
        wrap=lambda cls: es.trl.controlled(cls, es.chain(es.flow(target=1.0), es.entropy_bonus(0.01))),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        max_completion_length=8,
        learning_rate=1e-3,
        max_steps=4,
        shuffle_dataset=False,
    )
    run.train()
    if rank != 0:
        return None
    state = run.entropy_control.method.state_to_dict(run.entropy_control.state)
    log = [e for e in run.state.log_history if "entropy_control/measured" in e]
    record = {
        "state": state,
        "measured": [e["entropy_control/measured"] for e in log],
        "tokens": [e["token_entropy/tokens"] for e in log],
        "weights": weights(run.model).double().sum().item(),
    }
    (Path(directory) / "record.json").write_text(json.dumps(record))
    return record
