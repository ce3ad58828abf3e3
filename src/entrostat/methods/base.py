"""What a method is: how an objective is changed per micro-batch, and what is learnt once per optimizer step.

    requires                                      statistics it needs
    init() -> state
    apply(surrogate, batch, state) -> surrogate   per micro-batch; reads the state, never moves it; differentiable
    update(state, summary) -> (state, metrics)    once per optimizer step, on the summary of the whole step

`apply` cannot move the state and `update` sees only the global summary, so "one controller step per optimizer step, on
the exact global mean" holds under gradient accumulation, data parallelism and resume without any bookkeeping.

`Link` is the base of the methods here: a frozen dataclass whose fields named in `actions` are knobs (a number, a
schedule or a controller).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from entrostat.control import base as control_base
from entrostat.control.base import Action
from entrostat.control.effect import Effect
from entrostat.control.knob import as_controller, is_feedback, reads_effect
from entrostat.errors import DataError, StateError
from entrostat.types import Summary, Surrogate, TokenBatch

if TYPE_CHECKING:
    from torch import Tensor

CONTROLLER_METRICS = (
    "measured",
    "target",
    "error",
    "initial",
    "output",
    "drive",
    "saturated",
    "proportional",
    "integral_part",
    "feed_forward",
    "level",
    "drift",
    "gain",
    "gain_sd",
    "jumped",
    "identified",
    "reachable",
    "reach_low",
    "reach_high",
)


@dataclass(frozen=True)
class Source:
    """Where a method comes from, and how ours differs; read by the docs, `entrostat methods` and the tests."""

    paper: str
    where: str
    defaults: str
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True)
class MethodState:
    """The state of one link: its controllers, and numbers remembered from the last optimizer step."""

    knobs: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Method(Protocol):
    """See the module's docstring."""

    @property
    def requires(self) -> frozenset[str]: ...

    def init(self) -> Any: ...

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: Any) -> Surrogate: ...

    def update(self, state: Any, summary: Summary) -> tuple[Any, dict[str, float]]: ...


@dataclass(frozen=True)
class Link:
    """One idea of how to change an objective; `chain` composes several.

    Class attributes that a subclass sets:
        name: as in metrics and messages.
        actions: knob field -> what a larger value does to the entropy.
        writes: the fields of `Surrogate` that it changes; two links that write the same one cannot be chained.
        requires: statistics it needs.
        needs_rewards: whether it reads `TokenBatch.rewards_B`.
        needs_stale_data: whether it does nothing where every importance ratio is 1.
    """

    name: ClassVar[str] = "link"
    actions: ClassVar[Mapping[str, Action]] = {}
    writes: ClassVar[frozenset[str]] = frozenset()
    requires: ClassVar[frozenset[str]] = frozenset()
    needs_rewards: ClassVar[bool] = False
    needs_stale_data: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for knob, action in self.actions.items():
            value = getattr(self, knob)
            # None is a setting only where it is the default: "keep the host's".
            if value is not None or getattr(type(self), knob, ...) is not None:
                object.__setattr__(self, knob, as_controller(value, action, f"{self.name}.{knob}"))

    @property
    def knobs(self) -> dict[str, Any]:
        """The controllers behind the knobs that are set."""
        return {knob: value for knob in self.actions if (value := getattr(self, knob)) is not None}

    def with_delay(self, steps: int) -> Link:
        """The same link, its controllers told after how many optimizer steps their output first acts."""
        told = {k: dataclasses.replace(c, delay=steps) for k, c in self.knobs.items() if hasattr(c, "delay")}
        return dataclasses.replace(self, **told)

    def init(self) -> MethodState:
        return MethodState({knob: controller.init() for knob, controller in self.knobs.items()})

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        return surrogate

    def temperature(self, state: MethodState) -> float:
        """Factor on the host's sampling temperature; not 1 only where `writes` has "temperature"."""
        return 1.0

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        """What `apply` will want to know of this step in the next one."""
        return memory

    def effect(self, knob: str, summary: Summary) -> Effect | None:
        """What this knob does to the entropy of the batch, to first order; None where that is not known."""
        return None

    def report(self, summary: Summary) -> dict[str, float]:
        """Metrics of this step beyond those of the controllers."""
        return {}

    def update(self, state: MethodState, summary: Summary) -> tuple[MethodState, dict[str, float]]:
        """One optimizer step. A step without a single token moves nothing."""
        if not summary.tokens:
            return state, {}
        measured = summary.mean("entropy")
        control_base.check_measured(measured)
        knobs = {}
        for knob, controller in self.knobs.items():
            known = self.effect(knob, summary) if reads_effect(controller) else None
            before = state.knobs[knob]
            knobs[knob] = controller.step(before, measured, known) if known else controller.step(before, measured)
        metrics = dict(self.report(summary))
        for knob, controller in self.knobs.items():
            if is_feedback(controller):
                values = {m: float(v) for m in CONTROLLER_METRICS if (v := getattr(knobs[knob], m, None)) is not None}
                metrics |= (
                    values if values.keys().isdisjoint(metrics) else {f"{knob}/{m}": v for m, v in values.items()}
                )
            else:
                metrics[knob] = state.knobs[knob].output
        return MethodState(knobs, dict(self.remember(summary, state.memory))), metrics

    def ahead(self, before: MethodState, after: MethodState) -> MethodState:
        """The state to act with on the very batch that led from `before` to `after`.

        Controllers and memory have seen that batch; a schedule has not moved on to the next step yet.
        """
        open_loop = {knob: before.knobs[knob] for knob, own in self.knobs.items() if not is_feedback(own)}
        return MethodState({**after.knobs, **open_loop}, after.memory)

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


def rewards(batch: TokenBatch, owner: str) -> Tensor:
    """The raw rewards (B,), without gradient, or `DataError` naming who needs them."""
    if batch.rewards_B is None:
        raise DataError(
            f"{owner} builds its advantages from raw rewards: pass rewards_B (one per sequence) in the batch"
        )
    return batch.rewards_B.detach()


def log_ratio(batch: TokenBatch) -> Tensor:
    """Log of the importance ratio, for a loss: 0 at padding, whatever that holds; no gradient to the old policy.

    Padding is taken out before the exponential: masked out after it, 0 * NaN in the backward pass would be NaN.
    """
    logp = batch.stats.need("logp").masked_fill(~batch.mask, 0)
    old = logp if batch.old_logp_BT is None else batch.old_logp_BT.masked_fill(~batch.mask, 0)
    return logp - old.detach()


def describe(value: Any) -> Any:
    """A method, controller or schedule as plain JSON values that name its class and every setting."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if type(value) is Source:
            return None
        settings = {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__} | {k: v for k, v in settings.items() if v is not None}
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity, and a controller may have no limit
    return value


def fingerprint(method: Any) -> str:
    """A short hash of everything that makes a method what it is: a saved state belongs to one fingerprint."""
    text = json.dumps(describe(method), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
