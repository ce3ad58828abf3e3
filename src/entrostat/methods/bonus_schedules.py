"""Entropy bonuses whose coefficient falls over the steps of a run.

loss - coef(step) * mean(H)
"""

from __future__ import annotations

from entrostat.control import Cosine, Linear
from entrostat.methods.bonus import EntropyBonus
from entrostat.methods.chain import Chain
from entrostat.methods.record import Source
from entrostat.methods.registry import one, preset


@preset(Source("none", "a common schedule; TRL issue 5584", "0.01 to 0"), effect="raises")
def linear_bonus(steps: int, start: float = 0.01, end: float = 0.0) -> Chain:
    """An entropy bonus whose coefficient falls in a straight line over `steps` optimizer steps.

    Args:
        steps: optimizer steps over which the coefficient falls.
        start: coefficient at the first step.
        end: coefficient from the last of these steps on.
    """
    return one("linear_bonus", EntropyBonus(Linear(start, end, steps)))


@preset(Source("none", "a common schedule; TRL issue 5584", "0.01 to 0"), effect="raises")
def cosine_bonus(steps: int, start: float = 0.01, end: float = 0.0) -> Chain:
    """An entropy bonus whose coefficient falls along half a cosine over `steps` optimizer steps.

    Args:
        steps: optimizer steps over which the coefficient falls.
        start: coefficient at the first step.
        end: coefficient from the last of these steps on.
    """
    return one("cosine_bonus", EntropyBonus(Cosine(start, end, steps)))
