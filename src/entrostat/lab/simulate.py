"""The closed loop without a model: a method's controller on a linear plant, or the whole method on a tabular policy."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

from entrostat.control.response import Response, response
from entrostat.core.config import METHOD, Named, checked, named, read_values
from entrostat.errors import ConfigError, blame, did_you_mean

if TYPE_CHECKING:
    from entrostat.lab.plant import Event, Trace
    from entrostat.lab.stability import Loop

LINEAR, TABULAR = "linear", "tabular"
# Measured on the tiny policy at a learning rate of 1e-4, 48 prompts x 8 completions a step (docs/simulate.md). An output of 1
# does about as much whether it weighs tokens or is the coefficient of a bonus.
TINY = {"gain": 0.0055, "drift": -0.0015, "momentum": 0.86, "start": 0.26, "noise": 0.006, "wander": 0.001}


class SimulateConfig(BaseModel):
    """One simulation. `method` is that of a training run; settings of a run that have no meaning here are passed over."""

    model_config = ConfigDict(extra="forbid", strict=True)
    plant: Named = Named(name=LINEAR)
    method: Named = Named(name=METHOD)
    steps: PositiveInt = 400
    seed: NonNegativeInt = 0
    events: list[dict[str, Any]] = []
    band: float = Field(0.05, gt=0, lt=1)
    window: PositiveInt | None = None

    @field_validator("plant", "method", mode="before")
    @classmethod
    def _name_alone(cls, value: Any, info: Any) -> Any:
        return named(value, {"plant": LINEAR, "method": METHOD}[info.field_name])


@dataclass(frozen=True)
class Simulation:
    """What a simulation found.

    Attributes:
        trace: every step. numbers: its response; None where the method has no target.
        plant: its settings, as plain values. limits: of the output. loop: the linear loop, where there is one.
        seconds: that the steps took. window: steps over which the response's error is averaged.
    """

    config: SimulateConfig
    trace: Trace
    numbers: Response | None
    plant: dict[str, Any]
    limits: tuple[float, float]
    loop: Loop | None
    seconds: float
    window: int

    @property
    def record(self) -> dict[str, Any]:
        """Settings and numbers as plain values."""
        found: dict[str, Any] = {"config": self.config.model_dump(), "plant": self.plant}
        found["steps_per_second"] = round(self.config.steps / self.seconds)
        if self.numbers is not None:
            found["response"] = asdict(self.numbers)
        if self.loop is not None and self.loop.ki:
            from entrostat.lab.settling import settling_time

            stable = self.loop.is_stable
            found["theory"] = {
                "stable": stable,
                "gain_margin": self.loop.gain_margin,
                "settling": settling_time(self.loop, self.config.band) if stable else None,
            }
        return found

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The steps as a real run's `metrics.jsonl` has them."""
        trace, rows = self.trace, []
        for t in range(len(trace.measured)):
            row: dict[str, Any] = {"step": t + 1, "entropy_control/measured": trace.measured[t]}
            if trace.target:
                row["entropy_control/target"] = trace.target[t]
                row["entropy_control/error"] = trace.measured[t] - trace.target[t]
            row |= {"entropy_control/output": trace.output[t], "entropy_control/saturated": trace.saturated[t]}
            rows.append(row | ({"reward": trace.reward[t]} if trace.reward else {}))
        return rows


def load_simulation(
    path: str | None = None, overrides: Sequence[str] = (), run_keys: Iterable[str] = ()
) -> SimulateConfig:
    """The checked configuration. A file of a training run serves too: its other keys, `run_keys`, are passed over."""
    values = read_values(path, overrides)
    named = {override.partition("=")[0].partition(".")[0] for override in overrides}
    for key in set(run_keys) - set(SimulateConfig.model_fields) - named:
        values.pop(key, None)
    return checked(SimulateConfig, values)


def simulate(config: SimulateConfig) -> Simulation:
    """Run it.

    Raises:
        ConfigError: a setting is wrong; the message names the dotted key.
        DataError: the plant is a log from which it cannot be told.
    """
    from entrostat.control.knob import OpenLoop, is_feedback
    from entrostat.core.specification import build_method
    from entrostat.lab import closed_loop, train_bandit

    method = build_method(config.method.name, config.method.options)
    knobs = [knob for link in method.links for knob in link.knobs.values() if is_feedback(knob)]
    controller: Any = knobs[0] if knobs else OpenLoop(0.0)
    events = [_event(each, f"events.{index}", config.steps) for index, each in enumerate(config.events)]
    loop = None
    if config.plant.name == TABULAR:
        bandit, settings = _bandit(config)
        began = time.perf_counter()
        trace = train_bandit(bandit, method, config.steps, seed=config.seed, events=events)
    else:
        plant = _plant(config, controller)
        settings, loop = plant.settings, _loop(controller, plant)
        began = time.perf_counter()
        trace = closed_loop(plant, controller, config.steps, seed=config.seed, events=events)
    seconds = time.perf_counter() - began
    noise = max([settings["noise"], *(event.noise or 0.0 for event in events)])
    window = config.window or (9 if noise or config.plant.name == TABULAR else 1)
    numbers = _numbers(config, trace, events, noise, window)
    return Simulation(config, trace, numbers, settings, controller.limits, loop, seconds, window)


def _numbers(config: SimulateConfig, trace: Trace, events: list[Event], noise: float, window: int) -> Response | None:
    """The response. Under noise, and on sampled actions, it is of means over nine steps, of which 95 % have to lie within."""
    if not trace.target:
        return None
    noisy = bool(noise) or config.plant.name == TABULAR
    return response(
        trace.measured,
        trace.target,
        share=config.band,
        # What noise leaves in a mean, and 1 % of the target, count as settled.
        least=max(3 * noise / math.sqrt(window), 0.01 * trace.target[-1]),
        window=window,
        inside=0.95 if noisy else 1.0,
        saturated=trace.saturated,
        events=sorted({event.at for event in events}),
    )


def _plant(config: SimulateConfig, controller: Any) -> Any:
    """The linear plant: from its settings, or from the log of a run.

    A log that does not say what a larger output does to the entropy is taken for one of the method that is simulated.
    """
    from pathlib import Path

    from entrostat.lab import LinearPlant
    from entrostat.lab.tune import actuator_of, plant_behind
    from entrostat.logs.stretch import read_log

    name, options = config.plant.name, config.plant.options
    if name == LINEAR:
        # An actuator that acts past the optimizer, the temperature, says by its controller that there is no momentum.
        usual = TINY | {"momentum": getattr(controller, "momentum", TINY["momentum"])}
        return _built(LinearPlant, usual | options, options)
    if not Path(name).exists():
        raise ConfigError(
            f"plant: {name!r} is neither {LINEAR!r} nor {TABULAR!r}, and there is no such run folder or log"
        )
    reading = {key: options.pop(key) for key in ("entropy", "output") if key in options}
    delay = options.pop("delay", None)
    log = read_log(name, **reading, delay=delay)
    unsaid = getattr(controller, "action", None) == "raise"
    actuator = actuator_of(log.config, unsaid if log.raises is None else log.raises)
    found = plant_behind(log, actuator).plant(1 if delay is None else delay)
    return _built(LinearPlant, found.settings | options, options)


def _bandit(config: SimulateConfig) -> tuple[Any, dict[str, Any]]:
    import torch

    from entrostat.lab import TabularPolicy, random_bandit

    torch.set_num_threads(1)  # tensors of a few hundred numbers
    options = {"seed": config.seed, **config.plant.options}
    known = ["arms", "states", "start", "seed", "group", "prompts", "learning_rate", "momentum", "temperature"]
    known += ["updates", "eps", "delay", "noise"]
    _check_keys(options, known)
    bandit = _built(random_bandit, options, config.plant.options)
    trained = {name: getattr(bandit, name) for name in known[4:]}
    states, arms = bandit.policy.logits_SV.shape
    start = TabularPolicy(bandit.policy.logits_SV / bandit.temperature).entropy_S.mean().item()
    return bandit, {"arms": arms, "states": states, "start": start, **trained}


def _loop(controller: Any, plant: Any) -> Loop | None:
    from entrostat.control import PI
    from entrostat.lab import Loop

    if not isinstance(controller, PI) or plant.delay > 1:
        return None
    return Loop(controller.kp, controller.ki, plant.gain, controller.integral_read, plant.delay, plant.momentum)


def _event(values: Mapping[str, Any], where: str, steps: int) -> Any:
    from entrostat.lab import Event

    _check_keys(values, [field.name for field in fields(Event)], where)
    if "at" not in values:
        raise ConfigError(f"{where}.at: is needed and not given: the step of the event")
    event = _built(Event, values, values, where)
    if event.at >= steps:
        raise ConfigError(f"{where}.at: must be below steps ({steps}), got {event.at}: the event would not come")
    return event


def _built(build: Any, options: Mapping[str, Any], given: Mapping[str, Any], where: str = "plant") -> Any:
    from inspect import signature

    if build.__name__ != "random_bandit":
        _check_keys(options, list(signature(build).parameters), where)
    try:
        return build(**options)
    except (TypeError, ValueError) as error:
        raise blame(where, given, error) from error


def _check_keys(values: Mapping[str, Any], known: list[str], where: str = "plant") -> None:
    for key in values:
        if key not in known:
            raise ConfigError(
                f"{where}.{key}: unknown key{did_you_mean(str(key), known)}; there are {', '.join(known)}"
            )
