"""The controller of a preset that holds a target, and what such presets say of it."""

from __future__ import annotations

from entrostat.control import PI, Knob, SelfTuning
from entrostat.control.targets import Target
from entrostat.errors import ConfigError

GLOBAL_MEASUREMENT = (
    "the controller is stepped once per optimizer step, on the exact mean over all micro-batches and ranks; its "
    "output acts from the next step on"
)


BY_CONTROLLER = {"controller": ("target", "settling", "kp", "ki", "limits")}
"""The settings from which `holding` makes a controller: one that is given takes their place."""


def holding(
    target: Target,
    settling: float | None,
    kp: float | None,
    ki: float | None,
    limits: tuple[float, float],
) -> Knob:
    """The controller of a preset that takes these settings: a self-tuning one, or PI with fixed gains.

    Raises:
        ConfigError: a settling time beside fixed gains, which have one of their own.
    """
    if kp is None and ki is None:
        return SelfTuning(target, 30.0 if settling is None else settling, limits)
    if settling is None:
        return PI(target, kp or 0.0, ki or 0.0, limits)
    raise ConfigError(f"settling={settling} beside kp={kp}, ki={ki}: fixed gains have a settling time of their own")
