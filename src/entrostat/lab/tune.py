"""Gains for a run, from its log: the plant is identified and the poles are placed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from entrostat.errors import ConfigError

if TYPE_CHECKING:
    from entrostat.lab.identify import Identified
    from entrostat.lab.settling import Gains
    from entrostat.logs.stretch import Log

LIMITS = (-2.0, 2.0)
_QUIET = 2000  # steps of the simulation that tells what noise leaves


@dataclass(frozen=True)
class Actuator:
    """What the gains are for: a method, its knob, and how the knob's controller reads its integral.

    Attributes:
        method, options: as in the run's configuration; knob: None where the preset takes `kp` and `ki` themselves.
        sign: 1 where more output lowers the entropy, -1 where it raises it.
    """

    method: str = "flow"
    options: Mapping[str, Any] | None = None
    knob: str | None = None
    sign: int = 1
    integral_read: Any = "after"
    limits: tuple[float, float] = LIMITS


@dataclass(frozen=True)
class Tuning:
    """What was found. `gains` is None where the gain cannot be told from noise, or has the wrong sign.

    Attributes:
        rms: root mean square of the measured error that noise and wander leave under these gains [nats].
        holding: the output that cancels the drift; outside the actuator's limits nothing can hold the entropy.
        margin: by how much the plant's gain may exceed the upper end of its range before the loop is unstable.
    """

    log: Log
    actuator: Actuator
    plant: Identified
    delay: int
    gains: Gains | None = None
    rms: float = math.nan
    holding: float = math.nan
    margin: float = math.nan

    @property
    def yaml(self) -> str:
        """The method's section of a configuration with these gains."""
        from entrostat.core.yaml_file import dump

        if self.gains is None:
            raise ConfigError("there are no gains to write")
        kp, ki = (_rounded(value) for value in (self.gains.loop.kp, self.gains.loop.ki))
        options = dict(self.actuator.options or {})
        # The target is the method's, or that of the controller which these gains replace.
        held = options.pop("controller", None) or options.get(self.actuator.knob or "")
        inner = next(iter(held.values())) if isinstance(held, Mapping) else {}
        target = options.get("target") or inner.get("target") or "initial"
        if self.actuator.knob is None:
            options.pop("settling", None)  # of a self-tuning controller, which fixed gains replace
            section = {"name": self.actuator.method, **options, "target": target, "kp": kp, "ki": ki}
        else:
            knob = {"pi": {"target": target, "kp": kp, "ki": ki, "limits": list(self.actuator.limits)}}
            section = {
                "name": self.actuator.method,
                **with_knob(self.actuator.method, options, self.actuator.knob, knob),
            }
        return dump({"method": section}).rstrip()

    @property
    def record(self) -> dict[str, Any]:
        """Everything as plain values."""
        found: dict[str, Any] = {"plant": asdict(self.plant), "gain_known": self.plant.gain_known, "delay": self.delay}
        if self.gains is not None:
            found |= {"gains": asdict(self.gains), "rms": self.rms, "holding": self.holding, "margin": self.margin}
        return found


def with_knob(method: str, options: Mapping[str, Any], knob: str, value: Any) -> dict[str, Any]:
    """The options with this one, and without those that it replaces."""
    from entrostat.methods.registry import card

    replaced = card(method).replaces.get(knob, ())
    return {name: option for name, option in options.items() if name not in replaced} | {knob: value}


def actuator_of(config: Mapping[str, Any], raises: bool | None = None) -> Actuator:
    """The actuator of a run's configuration. Without one: flow's, or hold's where a larger output `raises` the entropy."""
    from entrostat.control import PI
    from entrostat.control.knob import is_feedback
    from entrostat.core.config import METHOD
    from entrostat.core.specification import build_method
    from entrostat.methods import factory

    section = config.get("method")
    if not isinstance(section, Mapping):
        if not raises:
            return Actuator()
        section = {"name": METHOD}
    name = str(section.get("name", METHOD))
    options = {key: value for key, value in section.items() if key != "name"}
    chain = build_method(name, options)
    found = [(link, knob) for link in chain.links for knob in link.knobs]
    if not found:
        raise ConfigError(f"method.name: {name!r} has no knob that could be controlled; choose flow, for instance")
    link, knob = found[0]
    owner: Any = link.knobs[knob]
    parameters = inspect.signature(factory(name)).parameters
    direct = {"kp", "ki"} <= parameters.keys()
    option = "controller" if "controller" in parameters else knob
    default = parameters["limits"].default if "limits" in parameters else LIMITS
    limits = owner.limits if is_feedback(owner) else tuple(options.get("limits", default))
    if isinstance(owner, PI):
        read = owner.integral_read
    else:
        read = options.get(
            "integral_read", parameters["integral_read"].default if "integral_read" in parameters else "after"
        )
    sign = -1 if link.card.knobs[knob] == "raise" else 1
    return Actuator(name, options, None if direct else option, sign, read, limits)


def plant_behind(log: Log, actuator: Actuator, momentum: float | None = None) -> Identified:
    """The plant behind a log, whose outputs are turned so that a larger one lowers the entropy."""
    from entrostat.lab import identify

    return identify(log.measured, [actuator.sign * output for output in log.acting], momentum)


def tune(
    log: Log,
    settling: float,
    *,
    delay: int = 1,
    momentum: float | None = None,
    damping: float | None = None,
) -> Tuning:
    """Identify the plant behind a log and place the poles of a PI loop on it.

    Args:
        settling: wanted settling time [optimizer steps].
        delay: steps between a measurement and the first step that its output will act on: 1 in TRL, 0 in the verl adapter.
        momentum: of the optimizer, where it is known.
        damping: of the gains, by default 0.7.

    Raises:
        ConfigError: a setting outside its range. DataError: a log that is too short.
    """
    from entrostat.control import PI
    from entrostat.control.response import response
    from entrostat.lab import closed_loop, gains_for
    from entrostat.lab.settling import DAMPING

    actuator = actuator_of(log.config, log.raises)
    plant = plant_behind(log, actuator, momentum)
    found = Tuning(log, actuator, plant, delay)
    if not (plant.gain_known and plant.gain > 0):
        return found
    gains = gains_for(
        settling,
        plant.gain,
        integral_read=actuator.integral_read,
        delay=delay,
        # Weighted means over a grid keep a rest of momentum where there is none.
        momentum=min(plant.momentum, 0.99),
        damping=DAMPING if damping is None else damping,
    )
    # Far from zero, where no policy's entropy stops the noise.
    still = replace(plant.plant(delay), start=10.0)
    controller = PI(10.0, gains.loop.kp, gains.loop.ki, (-math.inf, math.inf), integral_read=actuator.integral_read)
    rms = response(closed_loop(still, controller, _QUIET).measured, 10.0).rms_error
    margin = gains.loop.gain_margin * plant.gain / plant.gain_range[1]
    return replace(found, gains=gains, rms=rms, holding=actuator.sign * plant.drift / plant.gain, margin=margin)


def probe_overrides(config: Any, steps: int, amplitude: float | None) -> tuple[Any, float]:
    """A run's configuration whose method is driven open loop, and the amplitude: 0, then up, then down.

    Args:
        config: a `RunConfig`.
        amplitude: of the output; None: half of the actuator's larger limit.

    Raises:
        ConfigError: a method without a knob; an amplitude that is not above zero; fewer steps than an identification needs.
    """
    from entrostat.core.config import Named
    from entrostat.lab.identify import FEWEST

    if steps < FEWEST + 8:
        raise ConfigError(f"steps: a probe needs at least {FEWEST + 8} steps, got {steps}")
    actuator = actuator_of({"method": {"name": config.method.name, **config.method.options}})
    size = max(map(abs, actuator.limits)) / 2 if amplitude is None else amplitude
    if not (math.isfinite(size) and size > 0):
        raise ConfigError(
            f"--amplitude must be a finite output above zero, got {size!r}: this method has no limits to go by"
        )
    rest, turn = steps // 5, steps // 5 + 2 * steps // 5
    low = -size if actuator.limits[0] < 0 else 0.0
    points = [[0, 0.0], [rest - 1, 0.0], [rest, size], [turn - 1, size], [turn, low]]
    knob = "controller" if actuator.knob is None else actuator.knob
    name = config.method.name
    options = with_knob(name, config.method.options, knob, {"piecewise": {"points": points}})
    section = Named.model_validate({"name": name, **options})
    evaluation = config.eval.model_copy(update={"every": 0, "problems": 0})
    return config.model_copy(update={"method": section, "steps": steps, "eval": evaluation}), size


def _rounded(value: float) -> float:
    """Three significant digits: gains are not known better."""
    return float(f"{value:.3g}")
