"""What happens at the boundaries of optimizer steps: evaluate, stop on request, record."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from entrostat.run.folder import MetricsFile

OnStep = Callable[[int, Mapping[str, Any]], None]


class Evaluate(TrainerCallback):
    """What the policy solves before the first step, every `every` steps and after the last, in the host's own log.

    `evaluate` returns metrics by name, without their `eval/`.
    """

    def __init__(self, trainer: Any, evaluate: Callable[[], Mapping[str, float]], every: int) -> None:
        self.trainer, self.evaluate, self.every = trainer, evaluate, every

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            self.trainer.log(self._metrics())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        due = self.every and state.global_step % self.every == 0
        if due or state.global_step >= state.max_steps:
            for name, value in self._metrics().items():
                self.trainer._metrics["train"][name].append(value)

    def _metrics(self) -> dict[str, float]:
        return {f"eval/{name}": value for name, value in self.evaluate().items()}


class StopOnSignal(TrainerCallback):
    """Ctrl-C or SIGTERM: finish the optimizer step, save a checkpoint, stop. A second one stops at once."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.asked, self.note = False, note

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.asked:
            control.should_save = control.should_training_stop = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the two signals over while inside. Only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._on_signal) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _on_signal(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.note("stopping after this step, with a checkpoint (again to stop at once)")


class Record(TrainerCallback):
    """One line of metrics per optimizer step, on disk before the step's checkpoint is."""

    def __init__(self, metrics: MetricsFile, on_step: OnStep) -> None:
        self.metrics, self.on_step = metrics, on_step
        self.before = float(metrics.last.get("elapsed", 0.0))
        self.started = time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if not logs or "train_runtime" in logs:  # the host's closing summary belongs to no step
            return
        elapsed = self.before + time.perf_counter() - self.started  # over all sessions of a resumed run
        row = {"step": state.global_step, **logs, "elapsed": round(elapsed, 3)}
        self.metrics.append(row)
        self.on_step(state.global_step, row)
