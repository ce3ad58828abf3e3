"""A trainer that goes on exactly where its checkpoint stopped, and that survives a full disk.

TRL counts micro-batches and keeps a buffer of completions that several of them share; neither is in its checkpoints. A
checkpoint made in the middle of a buffer would go on with other completions. Both are saved here, per process.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from entrostat.errors import EntrostatError, SaveError, StateError
from entrostat.run.checkpoints import GENERATION


def exactly_resumable(trainer_class: type) -> type:
    """The same trainer with its place in the generation buffer inside its checkpoints."""
    return type(trainer_class.__name__, (_Exact, trainer_class), {"__doc__": trainer_class.__doc__})


class _Exact:
    """Mixin over a TRL trainer; see the module's docstring."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No model card: the run folder says more, and TRL would write one at every checkpoint."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        host: Any = self
        folder = Path(host.args.output_dir) / f"checkpoint-{host.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
        except EntrostatError:
            raise
        except Exception as error:
            # A full disk has many faces: OSError, safetensors' own error, a RuntimeError of torch that gives no reason.
            # The host removes older checkpoints only after the new one is whole, so the last good one is still there.
            shutil.rmtree(folder, ignore_errors=True)
            raise SaveError(
                f"cannot save the checkpoint at step {host.state.global_step} in {host.args.output_dir}: {error}. "
                "Is the disk full? Earlier checkpoints are whole, and --resume goes on from the newest"
            ) from error

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        super().save_model(output_dir, _internal_call)  # type: ignore[misc]
        if _internal_call and output_dir is not None:
            torch.save(self._place(), self._file(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is None:
            return
        host: Any = self
        try:
            place = torch.load(self._file(checkpoint), weights_only=True, map_location=host.args.device)
            host._step, host._buffered_inputs = place["micro_batches"], place["buffer"]
        except (OSError, RuntimeError, KeyError) as error:
            raise StateError(f"{checkpoint} cannot be resumed exactly: {error}. Use another checkpoint") from error

    def _place(self) -> dict[str, Any]:
        host: Any = self
        used_up = host._step % (host.args.steps_per_generation * host.num_iterations) == 0
        return {"micro_batches": host._step, "buffer": None if used_up else host._buffered_inputs}

    def _file(self, checkpoint: str) -> Path:
        host: Any = self
        return Path(checkpoint) / GENERATION.format(rank=host.accelerator.process_index)
