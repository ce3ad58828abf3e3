"""Runs of a few seconds: the tiny policy, sixteen completions a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from entrostat.run.config import load_config
from entrostat.run.folder import claim
from entrostat.run.resolve import resolve
from entrostat.run.train import Outcome, train

SMALL = (
    "steps=6",
    "threads=1",
    "method={name: flow, target: 0.3}",
    "trainer.per_device_train_batch_size=16",
    "trainer.num_generations=8",
    "trainer.learning_rate=1e-3",
    "eval.problems=2",
    "eval.samples=2",
    "eval.ks=[1]",
    "eval.every=2",
)
# What third parties warn of and a user of this project cannot change; everything else stays an error.
THIRD_PARTY = [
    "ignore:`torch.jit.script:DeprecationWarning",  # torch, from within its own modules
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",  # TRL asks transformers by the old name
]


class Told:
    """A progress that remembers, and that does something when a step is recorded."""

    def __init__(self, on_step: Callable[[int], None] = lambda step: None) -> None:
        self.notes: list[str] = []
        self.on_step = on_step

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.on_step(step)


def run(folder: Path, *overrides: str, progress: Told | None = None) -> Outcome:
    """A new run."""
    config = resolve(load_config(None, [*SMALL, *overrides]))
    with claim(folder):
        return train(config, folder, progress or Told())


def go_on(folder: Path, *overrides: str, progress: Told | None = None) -> Outcome:
    """The same run resumed."""
    config = resolve(load_config(folder / "config.yaml", overrides))
    with claim(folder, resume=True):
        return train(config, folder, progress or Told())


def timeless(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of metrics without what the clock decides."""
    return {key: value for key, value in row.items() if key not in ("step_time", "elapsed")}
