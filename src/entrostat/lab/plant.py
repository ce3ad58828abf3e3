"""The entropy of a policy in training as a linear plant: what one optimizer step does to it, seen from outside.

    v[t+1] = beta v[t] + (1 - beta) (d - g u[t] + w[t]),    H[t+1] = H[t] + v[t+1],    y[t] = H[t] + n[t]

u is the output that acts on step t, d the drift, g the gain, beta the momentum of the optimizer (AdamW's first moment makes
every push last some 1 / (1 - beta) steps), w what differs from batch to batch, and n the sampling noise of a batch mean.
beta = 0 is the integrator that EntroPIC (2511.15248) analyses.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from entrostat.control import Controller
from entrostat.errors import ConfigError


@dataclass(frozen=True)
class Event:
    """Something that changes at step `at`, and stays so. What is None stays as it was.

    Attributes:
        learning_rate: factor on the learning rate that the loop began with.
        drift, gain, noise, wander: new values, at the first learning rate.
    """

    at: int
    learning_rate: float | None = None
    drift: float | None = None
    gain: float | None = None
    noise: float | None = None
    wander: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.at, bool) or not isinstance(self.at, int) or self.at < 1:
            raise ConfigError(f"an event needs a step `at` of 1 or more, got {self.at!r}")
        if not self.changes:
            raise ConfigError(f"the event at step {self.at} changes nothing: give learning_rate, drift, gain or noise")
        for name, value in self.changes.items():
            if not math.isfinite(value) or (value < 0 and name != "drift"):
                raise ConfigError(
                    f"{name} of the event at step {self.at} must be finite and not negative, got {value!r}"
                )

    @property
    def changes(self) -> dict[str, float]:
        """What it sets."""
        return {name: value for name, value in vars(self).items() if name != "at" and value is not None}


LONGEST_DELAY = 1_000  # steps; a loop with more has no use, and its poles are as many


@dataclass(frozen=True)
class LinearPlant:
    """See the module's docstring. Gain and drift are those of one learning rate, and proportional to it.

    Args:
        gain: g, nats that one unit of output takes from the mean entropy in one step, in the long run.
        drift: d, change of the entropy per step without control [nats].
        momentum: beta, in [0, 1).
        delay: steps between a measurement and the first step that its output acts on. 0 where the batch that was
            measured is also the one acted on (the verl adapter); 1 where the output acts from the next step on (TRL).
        start: entropy before the first step [nats].
        noise: standard deviation of the sampling noise of one batch's mean entropy [nats].
        wander: standard deviation of what each step's drift differs by [nats].
    """

    gain: float
    drift: float = 0.0
    momentum: float = 0.0
    delay: int = 1
    start: float = 0.26
    noise: float = 0.0
    wander: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
                raise ConfigError(f"{name} of the plant must be a finite number, got {value!r}")
            if value < 0 and name != "drift":
                raise ConfigError(f"{name} of the plant must be zero or more, got {value!r}")
        if self.gain == 0:
            raise ConfigError("gain of the plant must be above zero: with none, no output moves the entropy")
        if self.momentum >= 1:
            raise ConfigError(f"momentum of the plant must be below 1, got {self.momentum!r}")
        if not isinstance(self.delay, int):
            raise ConfigError(f"delay of the plant must be a whole number of steps, got {self.delay!r}")
        if self.delay > LONGEST_DELAY:
            raise ConfigError(f"delay of the plant must be at most {LONGEST_DELAY:,} steps, got {self.delay!r}")

    @property
    def settings(self) -> dict[str, Any]:
        """As plain values."""
        return dataclasses.asdict(self)


@dataclass
class Trace:
    """What happened at each step, as a run's log has it: `output[t]` is what the controller commanded after `measured[t]`.

    `entropy` is the true mean entropy, `measured` what the controller saw; `target` is empty where there is none. `reward`
    is the mean reward of the batch, where there are rewards. All in nats per token.
    """

    measured: list[float] = field(default_factory=list)
    entropy: list[float] = field(default_factory=list)
    target: list[float] = field(default_factory=list)
    output: list[float] = field(default_factory=list)
    saturated: list[int] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)

    def add(self, measured: float, entropy: float, state: Any) -> None:
        """One step of a controller in `state` after it has seen `measured`."""
        self.measured.append(measured)
        self.entropy.append(entropy)
        if (target := getattr(state, "target", None)) is not None:
            self.target.append(target)
        self.output.append(state.output)
        self.saturated.append(getattr(state, "saturated", 0))


def closed_loop(
    plant: LinearPlant, controller: Controller, steps: int, *, seed: int = 0, events: Sequence[Event] = ()
) -> Trace:
    """Run a controller on the plant; some 200,000 steps a second.

    The entropy stops at zero, where every policy does, and so does what is measured of it. A controller bound to an actuator
    that raises the entropy (`action="raise"`) is given one.
    """
    draw = random.Random(seed).gauss
    step, state, trace = controller.step, controller.init(), Trace()
    sign = -1.0 if getattr(controller, "action", None) == "raise" else 1.0
    # Outputs that have been commanded and not yet acted; before the first measurement the controller's start acts.
    waiting: deque[float] = deque([sign * state.output] * plant.delay)
    changes: dict[int, dict[str, float]] = {}
    for event in events:
        changes[event.at] = changes.get(event.at, {}) | event.changes
    now = plant.settings | {"learning_rate": 1.0}
    entropy, velocity, momentum = plant.start, 0.0, plant.momentum
    for t in range(steps):
        if t in changes:
            now |= changes[t]
        measured = max(entropy + draw(0.0, now["noise"]), 0.0) if now["noise"] else entropy
        state = step(state, measured)
        trace.add(measured, entropy, state)
        waiting.append(sign * state.output)
        push = now["drift"] - now["gain"] * waiting.popleft()
        if now["wander"]:
            push += draw(0.0, now["wander"])
        velocity = momentum * velocity + (1 - momentum) * now["learning_rate"] * push
        entropy += velocity
        if entropy < 0:
            entropy = velocity = 0.0
    return trace
