"""What should happen: first-order entropy change, the account of the flow, stability of the loop, tabular policies."""

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
from entrostat.theory.stability import Loop, holding_output, ki_range, place_poles
from entrostat.theory.tabular import TabularPolicy, group_advantages

__all__ = [
    "FlowAccount",
    "Loop",
    "TabularPolicy",
    "centred_discriminators",
    "change_from_grpo_step",
    "change_from_raise",
    "discriminators",
    "entropy_change",
    "expected_centred",
    "flow_account",
    "group_advantages",
    "holding_output",
    "ki_range",
    "place_poles",
    "policy_entropy",
    "watershed",
]
