"""The controller of a preset that holds a target, and what such presets say of it."""

from __future__ import annotations

from entrostat.control import PI, Knob, SelfTuning, TargetLike
from entrostat.control.targets import as_target
from entrostat.errors import ConfigError

GLOBAL_MEASUREMENT = (
    "the controller is stepped once per optimizer step, on the exact mean over all micro-batches and ranks; its "
    "output acts from the next step on"
)


def holding(
    target: TargetLike,
    settling: float | None,
    kp: float | None,
    ki: float | None,
    limits: tuple[float, float],
    controller: Knob | None,
) -> Knob:
    """The controller of a preset that takes these settings: the one given, a self-tuning one, or PI with fixed gains."""
    if controller is not None:
        beside = {name: value for name, value in (("settling", settling), ("kp", kp), ("ki", ki)) if value is not None}
        if beside:
            told = ", ".join(f"{name}={value}" for name, value in beside.items())
            raise ConfigError(
                f"{told} beside a controller, which has settings of its own: give them to it, or leave them out"
            )
        return controller
    if kp is None and ki is None:
        return SelfTuning(as_target(target), 30.0 if settling is None else settling, limits)
    if settling is None:
        return PI(as_target(target), kp or 0.0, ki or 0.0, limits)
    raise ConfigError(f"settling={settling} beside kp={kp}, ki={ki}: fixed gains have a settling time of their own")
