"""TS-OPSD: a policy that has collapsed is distilled into a hotter copy of itself.

loss + coef * mean cross-entropy to the policy's own distribution at T > 1
"""

from __future__ import annotations

from entrostat.control import Knob
from entrostat.errors import ConfigError
from entrostat.methods.chain import Chain
from entrostat.methods.record import Source
from entrostat.methods.registry import one, preset
from entrostat.methods.statistic_term import StatisticTerm
from entrostat.types import Reheated


@preset(
    Source(
        "2606.00755",
        "TS-OPSD",
        "no default is known; T 1.5 and coef 0.01 are ours",
        ("the cross-entropy to the hotter distribution stands for the KL divergence: their gradients are one",),
    ),
    effect="raises",
)
def reheat(temperature: float = 1.5, coef: Knob = 0.01) -> Chain:
    """Distill the policy's own distribution at a higher temperature into it, to raise the entropy of a collapsed policy.

    Args:
        temperature: temperature of the teacher, relative to the sampling temperature; above 1.
        coef: coefficient: a number, schedule or controller.
    """
    if not 1 < temperature <= 100:
        raise ConfigError(f"temperature must be above 1 to reheat, and at most 100, got {temperature!r}")
    return one("reheat", StatisticTerm(Reheated(temperature, gradient=True), coef, sign=1.0))
