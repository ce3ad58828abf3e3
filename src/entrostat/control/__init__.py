"""Controllers, targets, schedules and knobs. Standard library only."""

from entrostat.control.base import Controller
from entrostat.control.knob import Knob
from entrostat.control.patterns import (
    decrease_increase_decrease,
    entrocraft_band,
    hold_then_decay,
    increase_then_decrease,
    oscillating_decay,
)
from entrostat.control.pi import PI, P, PIState
from entrostat.control.schedules import Constant, Cosine, Initial, Linear, Oscillating, Piecewise, Schedule
from entrostat.control.self_tuning import SelfTuning
from entrostat.control.self_tuning_state import SelfTuningState
from entrostat.control.step import Step, StepState
from entrostat.control.targets import Band, Target, TargetLike

__all__ = [
    "PI",
    "Band",
    "Constant",
    "Controller",
    "Cosine",
    "Initial",
    "Knob",
    "Linear",
    "Oscillating",
    "P",
    "PIState",
    "Piecewise",
    "Schedule",
    "SelfTuning",
    "SelfTuningState",
    "Step",
    "StepState",
    "Target",
    "TargetLike",
    "decrease_increase_decrease",
    "entrocraft_band",
    "hold_then_decay",
    "increase_then_decrease",
    "oscillating_decay",
]
