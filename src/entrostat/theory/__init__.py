"""What should happen: first-order entropy change, the account of the flow, stability of the loop, tabular policies;
simulated loops, and the plant behind a log; an optimizer step's change of entropy in parameter space."""

from entrostat.control.response import Response, noise_band, response
from entrostat.theory.bandit import Bandit, random_bandit, train_bandit
from entrostat.theory.first_order import (
    centred_discriminators,
    change_from_grpo_step,
    change_from_raise,
    discriminators,
    entropy_change,
    expected_centred,
    policy_entropy,
    watershed,
)
from entrostat.theory.flow import FlowAccount, flow_account
from entrostat.theory.identify import Identified, identify
from entrostat.theory.plant import Event, LinearPlant, Trace, closed_loop
from entrostat.theory.prediction import StepPrediction, before_step
from entrostat.theory.replay import MicroBatch
from entrostat.theory.settling import Gains, gains_for, settling_time
from entrostat.theory.stability import Loop, holding_output, ki_range, place_poles
from entrostat.theory.tabular import TabularPolicy, group_advantages

__all__ = [
    "Bandit",
    "Event",
    "FlowAccount",
    "Gains",
    "Identified",
    "LinearPlant",
    "Loop",
    "MicroBatch",
    "Response",
    "StepPrediction",
    "TabularPolicy",
    "Trace",
    "before_step",
    "centred_discriminators",
    "change_from_grpo_step",
    "change_from_raise",
    "closed_loop",
    "discriminators",
    "entropy_change",
    "expected_centred",
    "flow_account",
    "gains_for",
    "group_advantages",
    "holding_output",
    "identify",
    "ki_range",
    "noise_band",
    "place_poles",
    "policy_entropy",
    "random_bandit",
    "response",
    "settling_time",
    "train_bandit",
    "watershed",
]
