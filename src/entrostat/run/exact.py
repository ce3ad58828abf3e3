"""A trainer that goes on exactly where its checkpoint stopped, and that survives a full disk.

TRL counts micro-batches and keeps a buffer of completions that several of them share; neither is in its checkpoints. A
checkpoint made in the middle of a buffer would go on with other completions. Both are saved here, per process.
"""

from __future__ import annotations

import errno
import pickle
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from entrostat.core.state_file import load_state
from entrostat.errors import EntrostatError, SaveError, StateError
from entrostat.run import checkpoints
from entrostat.run.folder import write_json


def exactly_resumable(
    trainer_class: type, identity: Mapping[str, Any] | None = None, changed: Collection[str] = ()
) -> type:
    """The same trainer with its place in the generation buffer inside its checkpoints.

    Args:
        identity: what the run depends on, kept beside it.
        changed: dotted names of settings that differ from the checkpoint's, as the user allows.
    """
    extra = {"__doc__": trainer_class.__doc__, "_identity": identity, "_changed": tuple(changed)}
    return type(trainer_class.__name__, (_Exact, trainer_class), extra)


class _Exact:
    """Mixin over a TRL trainer; see the module's docstring."""

    _identity: Mapping[str, Any] | None
    _changed: tuple[str, ...]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No model card: the run folder says more, and TRL would write one at every checkpoint."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        host: Any = self
        home = Path(host.args.output_dir)
        folder = home / f"checkpoint-{host.state.global_step}"
        checkpoints.listed(home)  # no symbolic links
        limit, host.args.save_total_limit = host.args.save_total_limit, None  # the host removes by the clock
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
        except EntrostatError:
            raise
        except Exception as error:
            # A full disk has many faces: OSError, safetensors' own error, a RuntimeError of torch that gives no reason.
            # Older checkpoints are removed only after the new one is whole, so the last good one is still there.
            full = free_megabytes(home)
            shutil.rmtree(folder, ignore_errors=True)
            raise SaveError(
                f"cannot save the checkpoint at step {host.state.global_step} in {home}: {cause(error, full)}. "
                "Earlier checkpoints are whole, and --resume goes on from the newest"
            ) from error
        finally:
            host.args.save_total_limit = limit
        if host.args.should_save:
            try:
                checkpoints.rotate(home, limit)
            except OSError as error:
                raise SaveError(
                    f"cannot remove an old checkpoint in {home}: {error.strerror or error}. The new one is whole"
                ) from error

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        super().save_model(output_dir, _internal_call)  # type: ignore[misc]
        if _internal_call and output_dir is not None:
            torch.save(self._place(), self._file(output_dir))
            host: Any = self
            if self._identity is not None and host.args.should_save:
                write_json(Path(output_dir) / checkpoints.IDENTITY, self._identity)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is None:
            return
        host: Any = self
        try:
            place = torch.load(self._file(checkpoint), weights_only=True, map_location=host.args.device)
            host._step, host._buffered_inputs = place["micro_batches"], place["buffer"]
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise StateError(f"{checkpoint} cannot be resumed exactly: {error}. Use another checkpoint") from error
        if any(name.startswith("method.") for name in self._changed):
            control = host.entropy_control
            control.state, control.steps = load_state(checkpoint, control.method, same_settings=False)
        if "trainer.learning_rate" in self._changed:
            self._set_learning_rate(host.args.learning_rate)

    def _set_learning_rate(self, rate: float) -> None:
        """The new one from here on; the host would load the old one with the optimizer."""
        host: Any = self
        for group in host.optimizer.param_groups:
            old = group.get("initial_lr", group["lr"])
            group["lr"] = group["lr"] * rate / old if old else rate
            group["initial_lr"] = rate
        host.lr_scheduler.base_lrs = [rate] * len(host.lr_scheduler.base_lrs)
        host.lr_scheduler._last_lr = [group["lr"] for group in host.optimizer.param_groups]

    def _place(self) -> dict[str, Any]:
        host: Any = self
        used_up = host._step % (host.args.steps_per_generation * host.num_iterations) == 0
        return {"micro_batches": host._step, "buffer": None if used_up else host._buffered_inputs}

    def _file(self, checkpoint: str) -> Path:
        host: Any = self
        return Path(checkpoint) / checkpoints.GENERATION.format(rank=host.accelerator.process_index)


def free_megabytes(folder: Path) -> float:
    """Space left where the checkpoints lie [MB]; infinite where nobody can say."""
    try:
        return shutil.disk_usage(folder).free / 1e6
    except OSError:
        return float("inf")


def cause(error: BaseException, free: float) -> str:
    """What the error says, and of a full disk only where one is full: torch and safetensors hide the system's reason."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or free < 50:
        return f"{reason} (the disk has {free:.0f} MB left: free some)"
    return reason
