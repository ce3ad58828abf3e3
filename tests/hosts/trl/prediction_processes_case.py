"""One rank of a run with prescribed completions that predicts every step."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from hosts.trl.processes_case import Prescribed, every_third_length
from hosts.trl.trl_case import trainer

import entrostat as es


def main(directory: str, batch: int) -> list[dict] | None:
    """Train two steps; the first rank returns its predictions and writes them down."""
    torch.set_num_threads(1)

    run = trainer(
        Path(directory),
        Prescribed,
        reward=every_third_length,
        wrap=lambda cls: es.trl.controlled(cls, es.chain(es.flow(target=1.0), es.entropy_bonus(0.01)), predict_every=1),
        per_device_train_batch_size=batch,
        max_completion_length=8,
        learning_rate=1e-4,
        max_grad_norm=0.5,
        weight_decay=0.1,
        max_steps=2,
        shuffle_dataset=False,
    )
    run.train()
    if int(os.environ.get("RANK", 0)) != 0:
        return None
    prefix = "entropy_prediction/"
    rows = [{k: v for k, v in row.items() if k.startswith(prefix)} for row in run.state.log_history]
    found = [row for row in rows if row]
    (Path(directory) / "predictions.json").write_text(json.dumps(found))
    return found
