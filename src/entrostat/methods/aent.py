"""AEnt: an entropy bonus that leaves the least likely part of the vocabulary out.

loss - coef * mean entropy of the rest, renormalized
"""

from __future__ import annotations

from entrostat.control import Band, Knob
from entrostat.control.pi import PI
from entrostat.errors import ConfigError
from entrostat.methods.chain import Chain
from entrostat.methods.record import Source
from entrostat.methods.registry import one, preset
from entrostat.methods.statistic_term import StatisticTerm
from entrostat.types import Clamped


@preset(
    Source(
        "2509.03493",
        "AEnt, Eqs. 5 and 7; verl recipe",
        "coef 2e-4, least likely 0.3 of the vocabulary left out",
        ("its pull of the coefficient back to its start has no default and is not here",),
    ),
    effect="raises",
    notes=("needs a sort of the vocabulary at each position, with gradient",),
)
def aent(
    coef: Knob = 2e-4,
    dropped: float = 0.3,
    band: Band | None = None,
    rate: float = 1e-4,
    limits: tuple[float, float] = (4e-5, 0.1),
) -> Chain:
    """Clamped entropy bonus; with a band, its coefficient moves by `rate` per nat outside it.

    Args:
        coef: coefficient, or where it starts.
        dropped: share of the vocabulary, least likely first, that the entropy leaves out.
        band: lower and upper entropy [nats per token] between which the coefficient stays as it is.
        rate: with a band, change of the coefficient per step and nat outside it.
        limits: with a band, lowest and highest coefficient.
    """
    if band is not None:
        if not isinstance(coef, int | float):
            raise ConfigError(f"coef is where the coefficient starts when there is a band: give a number, got {coef!r}")
        coef = PI(band, 0.0, rate, limits, start=float(coef))
    return one("aent", StatisticTerm(Clamped(dropped, gradient=True), coef))
