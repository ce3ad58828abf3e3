"""Entropy control for your own training loop; TRL and verl are built on it.

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
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from entrostat.control import Band, Initial
from entrostat.control.numbers import whole
from entrostat.control.targets import levels
from entrostat.core.calls import Calls
from entrostat.core.host import LOOP, Host
from entrostat.core.recorder import Recorder
from entrostat.core.state_file import AFRESH, load_state, save_state
from entrostat.core.totals import Pending
from entrostat.core.watch import Watch
from entrostat.errors import ConfigError
from entrostat.methods import Chain, Link, chain
from entrostat.methods.authority import change_sums
from entrostat.methods.chain import PREDICTED
from entrostat.methods.objectives import check_kinds, token_push
from entrostat.stats import entropy_metrics, ranks, summarize
from entrostat.types import Old, Rollouts, Summary, Surrogate, TokenBatch, Want


class EntropyControl:
    """A method together with its state.

    Args:
        method: a preset, a chain or a single link.
        vocabulary: size V of the policy's vocabulary. If given, a target above log V, which no policy can reach, is refused.
        on_policy: whether every importance ratio is 1 in this run. A method that then has no effect gives a warning.
        delay: optimizer steps between a measurement and the first step that it changes: 1 if the loop uses `apply` and `step`, 0
            if it uses `step_on`.
        updates: optimizer steps between two controller steps, if a whole batch is measured and then trained on in several
            mini-batches. The momentum that is left after them is smaller.
        process_group: the ranks whose micro-batches make up a step; with tensor or pipeline parallelism the data-parallel group.
            None: all ranks.
        host: what the training loop can express (`core.host.Host`); by default everything, as in your own loop.

    Raises:
        ConfigError: not a method, or a target that no policy can reach.
        HostError: the method needs something that the host cannot express.
    """

    def __init__(
        self,
        method: Chain | Link,
        vocabulary: int | None = None,
        on_policy: bool = False,
        delay: int = 1,
        process_group: Any = None,
        host: Host = LOOP,
        updates: int = 1,
    ) -> None:
        if not isinstance(method, Chain | Link):
            raise ConfigError(f"method must be a preset such as hold(target=0.3), a chain or a link, got {method!r}")
        if isinstance(delay, bool) or delay not in (0, 1):
            raise ConfigError(f"delay must be 0 or 1 steps, got {delay!r}")
        updates = whole("updates", updates, "a whole number of optimizer steps, at least 1")
        if not isinstance(host, Host):
            raise ConfigError(f"host must be a core.host.Host, or left out in your own loop, got {host!r}")
        self.method = (method if isinstance(method, Chain) else chain(method)).with_timing(delay, updates)
        host.check(self.method)
        self._calls = Calls(self.method, delay, own=host is LOOP)
        self.process_group = process_group
        self.state = self.method.init()
        self.steps = 0
        self._pending = Pending(self.method)
        self._watch = Watch(self.method.name)
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
        self._calls.made.add("temperature")
        return self.method.temperature(self.state)

    def group_temperatures(self, groups: int) -> tuple[float, ...]:
        """A further factor on the sampling temperature for each group of the next batch, besides `temperature`.

        Log-probabilities and statistics are computed without these factors; pass them row by row as `TokenBatch.tempered_B`.
        """
        self._calls.made.add("group_temperatures")
        return self.method.group_temperatures(whole("groups", groups, "a number of groups", 0), self.state)

    def check_reachable(self, vocabulary: int) -> None:
        """Refuse a target that is above log V, the entropy of the uniform distribution, at any step."""
        vocabulary = whole(
            "vocabulary", vocabulary, "the size of the policy's vocabulary, a whole number of at least 1"
        )
        for target in (*self.method.targets, *self.method.goals):
            # A fraction of the initial entropy is not known yet; of a band it is enough to reach the lower edge.
            reached = levels(target.edges[0] if isinstance(target, Band) else target)
            highest = max((level for level in reached if not isinstance(level, Initial)), default=0.0)
            if highest > math.log(vocabulary):
                raise ConfigError(
                    f"target entropy {highest} is above log V = {math.log(vocabulary):.4f} nats, the most that a vocabulary "
                    f"of {vocabulary} allows: choose a lower target"
                )

    def score(self, rollouts: Rollouts, counted: bool = True) -> Rollouts:
        """The reward stage: the rollouts as the method changes them.

        Args:
            rollouts: whole groups; if a group is spread over processes, gather it first.
            counted: whether this process adds the method's sums. If several processes see the same rollouts, only one should.
        """
        self._calls.made.add("score")
        changed, sums = self.method.score(rollouts, self.state)
        if counted:
            self._pending.add(Summary(), sums)
        return changed

    def apply(self, surrogate: Surrogate, batch: TokenBatch) -> Surrogate:
        """The loss stage: the objective as the method changes it on one micro-batch, whose statistics are added to the step's."""
        self._check(batch, surrogate)
        self._calls.added()
        changed, sums = self.method.account(surrogate, batch, self.state)
        self._pending.add(self._standard(surrogate, batch), sums, batch)
        if self.recorder is not None:
            self.recorder.add(self.steps + 1, batch, changed)
        return changed

    @property
    def wants(self) -> frozenset[Want]:
        """Statistics of the policy being trained that a batch must have: those that the method and the recorder read.

        A method that reads statistics of the policy that sampled uses these while all ratios are 1.
        """
        read = self.method.requires | (frozenset() if self.recorder is None else self.recorder.needs)
        return frozenset(want.of if isinstance(want, Old) else want for want in read)

    @property
    def old_wants(self) -> frozenset[Want]:
        """Statistics of the policy that sampled, for `TokenBatch.old`, besides its log-probabilities; most methods have none."""
        read = (want.of for want in self.method.requires if isinstance(want, Old))
        return frozenset(want for want in read if want != "logp")

    @property
    def records_tokens(self) -> bool:
        """Whether the step that is being taken is recorded, so that a batch should carry its token ids and prompts."""
        return self.recorder is not None and self.recorder.due(self.steps + 1)

    def observe(self, batch: TokenBatch) -> None:
        """Add a micro-batch to the step's account without changing an objective.

        Raises:
            MissingStatistic: the batch lacks a statistic of `method.requires`; the entropy itself is always among them.
        """
        self._check(batch)
        self._calls.added()
        sums: tuple[dict[str, Tensor], ...] = tuple({} for _ in self.method.links)
        own: dict[str, Tensor] = {}
        if self.method.predicts:
            # No clip is known of a loss that is not seen.
            plain = Surrogate("ppo", batch.advantages_BT, eps_low=1.0, eps_high=math.inf)
            push = token_push(plain, batch)
            for name in PREDICTED:
                own |= change_sums(name, plain, batch, push)
        self._pending.add(summarize(batch), (*sums, own), batch)

    def _check(self, batch: TokenBatch, surrogate: Surrogate | None = None) -> None:
        check_kinds(batch, surrogate)
        for name in sorted(self.method.requires, key=str):
            batch.need(name)

    def _standard(self, surrogate: Surrogate, batch: TokenBatch) -> Summary:
        """The standard sums: tokens that the host's own clip has stopped do not flow."""
        return summarize(batch, token_push(surrogate, batch) if self.method.predicts else None)

    def step(self, all_reduce: Callable[[Tensor], Tensor] | None = None, fresh: bool | None = None) -> dict[str, float]:
        """End the optimizer step: one controller step on the exact mean over its micro-batches and ranks.

        Every rank calls it in every step, also one that had no micro-batch: the ranks add up one vector.

        Args:
            all_reduce: takes a vector and returns its sum over ranks; that of a rank without a micro-batch is on the CPU. By
                default torch.distributed where initialized, over the `process_group` given to this control.
            fresh: whether the tokens were sampled anew since the last step: False for a further update on tokens that were
                measured before, which share their noise and count once. None: yes, unless the entropy is the last one to the
                bit.

        Returns:
            Metrics `entropy_control/...` and `token_entropy/...`. A step whose mask is empty everywhere moves nothing and
            returns `entropy_control/empty_step` = 1 alone; one whose entropy is not a finite number moves nothing either, warns
            once, and returns `entropy_control/skipped_steps`, how many there have been.

        Raises:
            DataError: the tenth step in a row whose entropy is not finite.
        """
        if all_reduce is None and ranks.are_several():
            all_reduce = partial(ranks.sum_over_ranks, process_group=self.process_group)
        pending, self._pending = self._pending, Pending(self.method)
        totals = pending.totals(all_reduce)
        self._calls.stepped("step", bool(totals.standard.tokens))
        if not totals.standard.tokens:
            return {"entropy_control/empty_step": 1.0}
        if self._watch.unmeasured(totals.standard):
            return self._skipped()
        self.state, metrics = self.method.update(self.state, replace(totals, fresh=fresh))
        return self._named(self._end_step(metrics, totals.standard), totals.standard)

    def _skipped(self) -> dict[str, float]:
        if self.recorder is not None:
            self.recorder.discard()
        return {"entropy_control/skipped_steps": float(self._watch.skipped)}

    def _end_step(self, metrics: dict[str, float], standard: Summary) -> dict[str, float]:
        self.steps += 1
        metrics = metrics | self._watch.judged(metrics, standard)
        if self.recorder is not None:
            self.recorder.finish(self.steps)
        return metrics

    @staticmethod
    def _named(metrics: dict[str, float], summary: Summary) -> dict[str, float]:
        return {f"entropy_control/{name}": value for name, value in metrics.items()} | entropy_metrics(summary)

    def step_on(self, surrogate: Surrogate, batch: TokenBatch) -> tuple[Surrogate, dict[str, float]]:
        """One whole optimizer step at once: measure the batch, move the controller, change the objective.

        The controller acts on the same batch that it has measured, and means and deviations "of the step" are this batch's. Use
        it in place of `apply` and `step`, whose output acts from the next step on.

        Args:
            surrogate, batch: of the global batch, on one process.

        Returns:
            The objective as the method changes it, and the metrics of `step`.

        Raises:
            MissingStatistic, DataError: as `observe` and `step`; the state has not moved.
        """
        self._check(batch, surrogate)
        standard = self._standard(surrogate, batch).reduced()
        self._calls.stepped("step_on", bool(standard.tokens))
        if not standard.tokens:
            return surrogate, {"entropy_control/empty_step": 1.0}
        if self._watch.unmeasured(standard):
            return surrogate, self._skipped()
        # What raises leaves the state where it was.
        changed, self.state, _, metrics = self.method.step_on(surrogate, batch, self.state, standard)
        if self.recorder is not None:
            self.recorder.add(self.steps + 1, batch, changed)
        return changed, self._named(self._end_step(metrics, standard), standard)

    def discard(self) -> None:
        """Forget the micro-batches since the last step, as when a step is abandoned."""
        self._pending = Pending(self.method)
        if self.recorder is not None:
            self.recorder.discard()

    def save(self, directory: str | Path) -> Path:
        """Write `entrostat_state.json` into a checkpoint's directory; see `state_file.save_state`."""
        return save_state(directory, self.method, self.state, self.steps)

    def load(self, directory: str | Path, afresh: str = AFRESH) -> None:
        """Take the state from a checkpoint's directory; `StateError` where there is none or it is another method's."""
        self.state, self.steps = load_state(directory, self.method, afresh)
        self._pending = Pending(self.method)
