"""Controllers, schedules and knobs. Standard library only."""

from entrostat.control.base import Controller
from entrostat.control.knob import Knob
from entrostat.control.pi import PI, P, PIState
from entrostat.control.schedules import Constant, Cosine, Linear, Piecewise, Schedule
from entrostat.control.step import Step, StepState

__all__ = [
    "PI",
    "Constant",
    "Controller",
    "Cosine",
    "Knob",
    "Linear",
    "P",
    "PIState",
    "Piecewise",
    "Schedule",
    "Step",
    "StepState",
]
