"""A laboratory for control loops: simulated plants, exact tabular policies, stability, settling, identification, tuning.

For studying loops before GPU hours are spent; nothing here runs beside a training run.
"""

from entrostat.lab.bandit import Bandit, random_bandit
from entrostat.lab.bandit_training import train_bandit
from entrostat.lab.identify import Identified, identify
from entrostat.lab.plant import Event, LinearPlant, Trace, closed_loop
from entrostat.lab.settling import Gains, gains_for, settling_time
from entrostat.lab.stability import Loop, holding_output, ki_range, place_poles
from entrostat.lab.tabular import TabularPolicy, group_advantages

__all__ = [
    "Bandit",
    "Event",
    "Gains",
    "Identified",
    "LinearPlant",
    "Loop",
    "TabularPolicy",
    "Trace",
    "closed_loop",
    "gains_for",
    "group_advantages",
    "holding_output",
    "identify",
    "ki_range",
    "place_poles",
    "random_bandit",
    "settling_time",
    "train_bandit",
]
