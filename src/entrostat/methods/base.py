"""What a method is: a frozen dataclass with a `Card`, and one function for each stage at which it acts.

    score(rollouts, state) -> rollouts            where rewards become advantages, in whole groups
    apply(surrogate, batch, state) -> surrogate   per micro-batch, in the loss; differentiable
    temperature(state) -> factor                  when sampling; and group_temperatures(groups, state) -> factors

These do not change the state. It changes once per optimizer step, from sums over all tokens of the step:
    measure(surrogate, batch, state) -> sums      per micro-batch, before `apply`; the names are declared
    update(state, totals) -> (state, metrics)     once per optimizer step; most methods only define `remember` and `report`

So a controller steps once per optimizer step, on the exact global mean. How to write a method: `docs/methods/writing.md`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from entrostat.control import base as control_base
from entrostat.control.base import CONTROLLER_METRICS
from entrostat.control.effect import Effect
from entrostat.control.knob import as_controller, is_feedback, reads_effect
from entrostat.errors import DataError, StateError
from entrostat.methods import settings
from entrostat.methods.record import Card, Stage
from entrostat.methods.scopes import Top
from entrostat.stats.clusters import standard_error
from entrostat.stats.summarize import sum_dtype
from entrostat.types import Rollouts, Summary, Surrogate, TokenBatch, Want

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MethodState:
    """The state of one link: its controllers, and numbers remembered from the last optimizer step."""

    knobs: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """One idea of how to change training; `chain` composes several. A method overrides `card` and what it does.

    Where a part of the record depends on the settings, the method overrides `record`.
    """

    card: ClassVar[Card] = Card("link")

    @property
    def record(self) -> Card:
        """The card of this very setting."""
        if not self.card.pools or getattr(self, "scope", "") != "step":
            return self.card
        return dataclasses.replace(self.card, tops=dict.fromkeys(self.card.pools, self.top))

    @property
    def top(self) -> Top:
        """The share of largest values that it selects, of those that have a field `share`."""
        return Top(self.share)  # type: ignore[attr-defined]

    def __post_init__(self) -> None:
        settings.convert(self.name, self, but=self.card.knobs)
        for knob, action in self.card.knobs.items():
            value = getattr(self, knob)
            # None is a setting only where it is the default: "keep the host's".
            if value is not None or getattr(type(self), knob, ...) is not None:
                object.__setattr__(self, knob, as_controller(value, action, f"{self.name}.{knob}"))
        if hasattr(self, "share"):
            Top(self.share)
        settings.check(self.name, self.card.bounds, self)

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def requires(self) -> frozenset[Want]:
        """Statistics that the loss stage reads; the measurement itself needs logp and entropy."""
        return frozenset(self.record.want)

    @property
    def writes(self) -> frozenset[str]:
        return frozenset(self.record.writes)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages at which it acts: those whose function it has."""
        stages: dict[str, Stage] = {"score": "reward", "apply": "loss"}
        stages |= dict.fromkeys(("temperature", "group_temperatures"), "sampling")
        own = (stage for name, stage in stages.items() if getattr(type(self), name) is not getattr(Link, name))
        return tuple(dict.fromkeys(own))

    @property
    def knobs(self) -> dict[str, Any]:
        """The controllers behind the knobs that are set."""
        return {knob: value for knob in self.card.knobs if (value := getattr(self, knob)) is not None}

    @property
    def feedback(self) -> dict[str, Any]:
        """The knobs that a measurement moves."""
        return {knob: own for knob, own in self.knobs.items() if is_feedback(own)}

    def with_timing(self, delay: int, updates: int = 1) -> Link:
        """The same link, its controllers told of the host's rhythm.

        Args:
            delay: steps from a measurement to the first one that their output acts on, 0 or 1.
            updates: optimizer steps between two of theirs. Momentum beta leaves beta^updates of a push to the next one.
        """
        told: dict[str, Any] = {}
        for knob, controller in self.knobs.items():
            if hasattr(controller, "delay"):
                told[knob] = dataclasses.replace(controller, delay=delay)
            if updates > 1 and hasattr(controller, "momentum"):
                momentum = controller.momentum**updates
                told[knob] = dataclasses.replace(told.get(knob, controller), momentum=momentum)
        return dataclasses.replace(self, **told)

    def check_completions(self, count: int) -> None:
        """`ConfigError` where so few completions of a prompt are not enough for it."""

    # -- what it does --------------------------------------------------------------------------------------------------

    def init(self) -> MethodState:
        return MethodState({knob: controller.init() for knob, controller in self.knobs.items()})

    def score(self, rollouts: Rollouts, state: MethodState) -> Rollouts:
        """The rollouts with other advantages, or with rows left out."""
        return rollouts

    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        """What `update` shall know of this micro-batch: the declared sums and pools, without gradient."""
        return {}

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        """The objective changed. It may add declared sums of what it did."""
        return surrogate

    def temperature(self, state: MethodState) -> float:
        """Factor on the host's sampling temperature; not 1 only where `writes` has "temperature"."""
        return 1.0

    def group_temperatures(self, groups: int, state: MethodState) -> Sequence[float]:
        """Further factors with which each group of the next batch is sampled, not scored; `writes` has "group_temperatures"."""
        return (1.0,) * groups

    # -- what it learns ------------------------------------------------------------------------------------------------

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        """What `apply` will want to know of this step in the next one: the thresholds of its pools, if nothing else."""
        return {**memory, **{name: summary.get(name) for name in self.record.tops if name in summary.values}}

    def effect(self, knob: str, summary: Summary) -> Effect | None:
        """What this knob does to the entropy of the batch, to first order; None where that is not known."""
        return None

    def authority(self, summary: Summary) -> dict[str, float]:
        """The range of entropy change that its controlled knob commands, where that is known."""
        return {}

    def report(self, summary: Summary) -> dict[str, float]:
        """Metrics of this step beyond those of the controllers, logged as `<name>/<metric>`.

        A metric `x_share` of the card, with `x` among its sums, is the share of the tokens that were counted as x.
        """
        shares = {metric: metric.removesuffix("_share") for metric in self.record.metrics}
        return {
            metric: summary.mean(name) for metric, name in shares.items() if name in self.record.sums and name != metric
        }

    def update(
        self, state: MethodState, summary: Summary, fresh: bool | None = None
    ) -> tuple[MethodState, dict[str, float]]:
        """One optimizer step: the state after it, and the controllers' metrics. Without a token nothing changes.

        Args:
            fresh: whether the tokens were sampled since the last step; None if the loop does not say.
        """
        if not summary.tokens:
            return state, {}
        measured = summary.mean("entropy")
        control_base.check_measured(measured)
        knobs = {}
        for knob, controller in self.knobs.items():
            told = (self.effect(knob, summary), standard_error(summary), fresh) if reads_effect(controller) else ()
            knobs[knob] = controller.step(state.knobs[knob], measured, *told)
        metrics: dict[str, float] = {}
        for knob in self.feedback:
            metrics |= {m: float(v) for m in CONTROLLER_METRICS if (v := getattr(knobs[knob], m, None)) is not None}
        # A number that is not finite, of advantages of NaN, says nothing about the next step: the last one stays.
        learned = self.remember(summary, state.memory)
        memory = {**state.memory, **{name: value for name, value in learned.items() if math.isfinite(value)}}
        return MethodState(knobs, {name: memory[name] for name in learned if name in memory}), metrics

    def acting_state(self, before: MethodState, after: MethodState) -> MethodState:
        """The state to act with on the very batch that led from `before` to `after`.

        Controllers and memory have seen that batch; a schedule has not moved on to the next step yet.
        """
        open_loop = {knob: before.knobs[knob] for knob, own in self.knobs.items() if not is_feedback(own)}
        return MethodState({**after.knobs, **open_loop}, after.memory)

    # -- its state on disk ---------------------------------------------------------------------------------------------

    def state_to_dict(self, state: MethodState) -> dict[str, Any]:
        """The state as plain JSON values, exact."""
        return {
            "knobs": {knob: control_base.to_dict(value) for knob, value in state.knobs.items()},
            "memory": dict(state.memory),
        }

    def state_from_dict(self, values: Mapping[str, Any]) -> MethodState:
        """The inverse of `state_to_dict`; `StateError` where it does not fit this method."""
        if set(values) != {"knobs", "memory"} or set(values["knobs"]) != set(self.knobs):
            raise StateError(f"the saved state does not fit {self.name!r}: it has {values!r}")
        return MethodState(
            {k: control_base.from_dict(c.init(), values["knobs"][k]) for k, c in self.knobs.items()},
            {str(k): float(v) for k, v in values["memory"].items()},
        )


def outputs(state: MethodState) -> dict[str, float]:
    """The present value of each knob."""
    return {knob: float(own.output) for knob, own in state.knobs.items()}


def counting(surrogate: Surrogate, name: str, tokens_BT: Tensor, **changes: Any) -> Surrogate:
    """The objective with these changes, and the number of some tokens added to the link's sum `name`."""
    count = tokens_BT.sum(dtype=sum_dtype(tokens_BT.device))
    return dataclasses.replace(surrogate, **changes, sums={**surrogate.sums, name: count})


def rewards(batch: TokenBatch, owner: str) -> Tensor:
    """The raw rewards (B,), NaN where unscored, without gradient, or `DataError` naming who needs them."""
    if batch.rewards_B is None:
        raise DataError(
            f"{owner} builds its advantages from raw rewards: pass rewards_B (one per sequence) in the batch"
        )
    return batch.rewards_B.detach()
