"""What moved the entropy: by quadrant of (sign A) x (sign D), by token, by prompt, and in parameter space."""

from entrostat.attribution.account import FlowAccount, flow_account
from entrostat.attribution.prediction import StepPrediction, before_step
from entrostat.attribution.recompute import MicroBatch
from entrostat.attribution.tokens import TokenRecorder

__all__ = ["FlowAccount", "MicroBatch", "StepPrediction", "TokenRecorder", "before_step", "flow_account"]
