"""Temperature control: the sampling temperature moves, so that the entropy of what is sampled stays.

The policy is what is sampled from, p = softmax(z / T), and its gradient is taken at that T, so training stays on-policy. The
controller commands the rate at which T changes,

    log T[t+1] = log T[t] - rate * u[t]                  T relative to the host's own temperature

which makes the plant the integrator that every controller here expects, H[t+1] = H[t] + d - g u[t]: d is what training
does to the entropy, and g = rate * dH / d log T = rate * mean Var_p(log p). No token weight and no gradient changes.
Source: docs/frontier.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from entrostat.control import Initial, Knob, SelfTuning, TargetLike
from entrostat.control.targets import as_target
from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState
from entrostat.methods.chain import Chain
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset
from entrostat.types import Summary

_LOG_T = "log_temperature"


@dataclass(frozen=True)
class Temperature(Link):
    """Hold the entropy by the sampling temperature alone; the host samples and scores at `temperature(state)`.

    Args:
        u: output; u > 0 cools, which lowers the entropy. One unit is a change of `rate` in log T a step.
        rate: change of log T per step and unit of output.
        limits: lowest and highest temperature, relative to the host's.
    """

    u: Knob
    rate: float = 0.01
    limits: tuple[float, float] = (0.25, 4.0)

    card: ClassVar[Card] = Card(
        "temperature", effect="holds", writes=("temperature",), knobs={"u": "lower"}, bounds={"rate": "(0, 1]"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.limits
        if not (math.isfinite(low) and math.isfinite(high) and 0 < low <= 1 <= high):
            raise ConfigError(f"limits must be temperatures around 1, (lowest, highest), got {self.limits!r}")

    def init(self) -> MethodState:
        return MethodState(super().init().knobs, {_LOG_T: 0.0})

    def temperature(self, state: MethodState) -> float:
        return math.exp(state.memory[_LOG_T])

    def update(
        self, state: MethodState, summary: Summary, fresh: bool | None = None
    ) -> tuple[MethodState, dict[str, float]]:
        moved, metrics = super().update(state, summary, fresh)
        if not summary.tokens:
            return moved, metrics
        wanted = state.memory[_LOG_T] - self.rate * moved.knobs["u"].output
        low, high = (math.log(end) for end in self.limits)
        metrics["temperature"] = self.temperature(state)  # of the step that was measured
        return MethodState(moved.knobs, {_LOG_T: min(max(wanted, low), high)}), metrics


@preset(
    Source(
        "Entrostat",
        "docs/methods/temperature.md",
        "settling time 15 steps; temperature within (0.25, 4) of the host's, at most 5 % a step",
    ),
    effect="holds",
    replaces={"controller": ("target", "settling")},
)
def temperature(
    target: TargetLike = Initial(),  # noqa: B008  # frozen
    settling: float = 15.0,
    rate: float = 0.01,
    limits: tuple[float, float] = (0.25, 4.0),
    controller: Knob | None = None,
) -> Chain:
    """Hold the entropy by the sampling temperature; the gradient is left as it is.

    Args:
        target: entropy to hold [nats per token]: a number, `Initial()`, a schedule or a `Band`.
        settling: optimizer steps after which an error stays within 5 % of itself, see `SelfTuning`.
        rate: change of log T per step and unit of output; the output stays within (-5, 5).
        limits: lowest and highest temperature, relative to the host's.
        controller: takes the place of the one that target and settling make; neither is given beside it.
    """
    if controller is None:
        # The temperature acts at once: no momentum lies between the output and the entropy.
        controller = SelfTuning(as_target(target), settling, (-5.0, 5.0), momentum=0.0)
    return one("temperature", Temperature(controller, rate, limits))
