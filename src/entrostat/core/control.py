"""Entropy control for a training loop of one's own; the hosts are built on it.

control = EntropyControl(hold(target=0.3))
for each micro-batch of an optimizer step:
    surrogate = control.apply(ppo(batch), batch)
    loss(surrogate, batch).backward()
optimizer.step()
log(control.step())            # once per optimizer step; adds up micro-batches and ranks
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from entrostat.control import Band, Initial
from entrostat.control.targets import levels
from entrostat.core.state_file import AFRESH, load_state, save_state
from entrostat.errors import ConfigError
from entrostat.methods import Chain, Link, chain
from entrostat.stats import entropy_metrics, summarise
from entrostat.types import Summary, Surrogate, TokenBatch


def _sum_over_ranks(vector: Tensor) -> Tensor:
    torch.distributed.all_reduce(vector)
    return vector


class Recorder(Protocol):
    """Who keeps a sample of the tokens; see `attribution.TokenRecorder`."""

    def due(self, step: int) -> bool: ...

    def add(self, step: int, batch: TokenBatch, changed: Surrogate) -> None: ...

    def finish(self, step: int) -> Any: ...

    def discard(self) -> None: ...


class EntropyControl:
    """A method together with its state: the only thing here that changes as training goes on.

    Args:
        method: a preset, a chain or a single link.
        vocabulary: size V of the policy's vocabulary; a target above log V, which no policy can reach, is then refused.
        on_policy: whether every importance ratio is 1 in this run; a method that does nothing then is warned of.
        delay: optimizer steps between a measurement and the first step that it changes: 1 where the loop uses `apply`
            and `step`, 0 where it uses `step_on`.
    """

    def __init__(
        self, method: Chain | Link, vocabulary: int | None = None, on_policy: bool = False, delay: int = 1
    ) -> None:
        if not isinstance(method, Chain | Link):
            raise ConfigError(f"method must be a preset such as hold(target=0.3), a chain or a link, got {method!r}")
        self.method = (method if isinstance(method, Chain) else chain(method)).with_delay(delay)
        self.state = self.method.init()
        self.steps = 0
        self._pending = Summary()
        self._warned: set[str] = set()
        self.recorder: Recorder | None = None
        if vocabulary is not None:
            self.check_reachable(vocabulary)
        if on_policy and self.method.needs_stale_data:
            warnings.warn(
                f"{self.method.name!r} changes the clip range of the importance ratio, but this run is strictly on-policy: "
                "every ratio is 1 and the method does nothing. Take several optimizer steps per batch, or another method",
                stacklevel=2,
            )

    @property
    def temperature(self) -> float:
        """Factor on the sampling temperature for the next batch; 1 unless the method moves it."""
        return self.method.temperature(self.state)

    def check_reachable(self, vocabulary: int) -> None:
        """Refuse a target that anywhere leads above log V, the entropy of the uniform distribution."""
        for target in self.method.targets:
            # A fraction of the initial entropy is not known yet; of a band it is enough to reach the lower edge.
            reached = levels(target.low if isinstance(target, Band) else target)
            highest = max((level for level in reached if not isinstance(level, Initial)), default=0.0)
            if highest > math.log(vocabulary):
                raise ConfigError(
                    f"target entropy {highest} is above log V = {math.log(vocabulary):.4f} nats, the most that a vocabulary "
                    f"of {vocabulary} allows: choose a lower target"
                )

    def apply(self, surrogate: Surrogate, batch: TokenBatch) -> Surrogate:
        """The objective as the method changes it on one micro-batch, whose sums are added to the step's account."""
        changed = self.method.apply(surrogate, batch, self.state)
        self.observe(batch, changed)
        if self.recorder is not None:
            self.recorder.add(self.steps + 1, batch, changed)
        return changed

    @property
    def records_tokens(self) -> bool:
        """Whether the step that is being taken is recorded, so that a batch should carry its token ids and prompts."""
        return self.recorder is not None and self.recorder.due(self.steps + 1)

    def observe(self, batch: TokenBatch, changed: Surrogate | None = None) -> None:
        """Add a micro-batch to the step's account without changing an objective.

        Raises:
            MissingStatistic: the batch lacks a statistic of `method.requires`; the entropy itself is always among them.
        """
        for name in sorted(self.method.requires):
            batch.stats.need(name)
        self._pending = self._pending + summarise(batch) + Summary(changed.sums if changed else {})

    def step(self, all_reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, float]:
        """End the optimizer step: one controller step on the exact mean over its micro-batches and ranks.

        Args:
            all_reduce: takes a vector and returns its sum over ranks; by default torch.distributed where initialised.

        Returns:
            Metrics `entropy_control/...` and `token_entropy/...`. A step whose mask is empty everywhere moves nothing and
            returns `entropy_control/empty_step` = 1 alone.

        Raises:
            DataError: the measured entropy is not finite; the state has not moved, the micro-batches are forgotten.
        """
        if all_reduce is None and torch.distributed.is_available() and torch.distributed.is_initialized():
            all_reduce = _sum_over_ranks
        summary = self._pending.reduced(all_reduce)
        self._pending = Summary()
        if not summary.tokens:
            return {"entropy_control/empty_step": 1.0}
        self.state, metrics = self.method.update(self.state, summary)
        self._end_step(metrics)
        return self._named(metrics, summary)

    def _end_step(self, metrics: dict[str, float]) -> None:
        self.steps += 1
        self._warn(metrics)
        if self.recorder is not None:
            self.recorder.finish(self.steps)

    def _warn(self, metrics: dict[str, float]) -> None:
        """Say, once each, what a self-tuning controller has found to be impossible."""
        texts = {}
        if metrics.get("reachable") == 0:
            texts["reachable"] = (
                f"{self.method.name!r}: no output brings the entropy, {metrics['measured']:.4f} nats, to its target, "
                f"{metrics['target']:.4f}, or it takes far too long (output now {metrics['output']:.4g}). Within one settling "
                f"time the limits reach {metrics['reach_low']:.4f} to {metrics['reach_high']:.4f} nats: "
                "choose a target there, wider limits, a higher learning rate or another method"
            )
        if metrics.get("identified") == -1:
            texts["identified"] = (
                f"{self.method.name!r}: what its output does to the entropy cannot be told from noise (gain "
                f"{metrics['gain']:.2g}, standard error {metrics['gain_sd']:.2g} nats per step and unit of drive); "
                "cautious gains stay in use. Larger batches make the measurement less noisy"
            )
        for name, text in texts.items():
            if name not in self._warned:
                warnings.warn(text, stacklevel=3)
        self._warned |= texts.keys()

    @staticmethod
    def _named(metrics: dict[str, float], summary: Summary) -> dict[str, float]:
        return {f"entropy_control/{name}": value for name, value in metrics.items()} | entropy_metrics(summary)

    def step_on(self, surrogate: Surrogate, batch: TokenBatch) -> tuple[Surrogate, dict[str, float]]:
        """A whole optimizer step whose batch is at hand before its update: measure it, step, then change the objective.

        The controller has seen the very batch that it acts on, and what a method takes from "the step" (a mean, a
        deviation) is this batch's. Replaces `apply` and `step`, whose output acts from the next step on.

        Args:
            surrogate, batch: of the global batch, on one process.

        Returns:
            The objective as the method changes it, and the metrics of `step`.

        Raises:
            MissingStatistic, DataError: as `observe` and `step`; the state has not moved.
        """
        for name in sorted(self.method.requires):
            batch.stats.need(name)
        account = summarise(batch).reduced()
        if not account.tokens:
            return surrogate, {"entropy_control/empty_step": 1.0}
        before = self.state
        first = self.method.apply(surrogate, batch, before)
        after, metrics = self.method.update(before, account + Summary(first.sums).reduced())
        changed = self.method.apply(surrogate, batch, self.method.ahead(before, after))
        summary = account + Summary(changed.sums).reduced()
        metrics |= self.method.report(summary)  # of the output that acts
        self.state = after  # only now: what raises above leaves it where it was
        if self.recorder is not None:
            self.recorder.add(self.steps + 1, batch, changed)
        self._end_step(metrics)
        return changed, self._named(metrics, summary)

    def discard(self) -> None:
        """Forget the micro-batches since the last step, as when a step is abandoned."""
        self._pending = Summary()
        if self.recorder is not None:
            self.recorder.discard()

    def save(self, directory: str | Path) -> Path:
        """Write `entrostat_state.json` into a checkpoint's directory; see `state_file.save_state`."""
        return save_state(directory, self.method, self.state, self.steps)

    def load(self, directory: str | Path, afresh: str = AFRESH) -> None:
        """Take the state from a checkpoint's directory; `StateError` where there is none or it is another method's."""
        self.state, self.steps = load_state(directory, self.method, afresh)
        self._pending = Summary()
