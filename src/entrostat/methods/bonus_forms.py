"""Entropy bonuses of other entropies: of a part of the vocabulary, of a hotter policy; and on a schedule.

aent          loss - coef * mean entropy without the least likely share of the vocabulary
tre           loss - coef * mean entropy of the top-p or top-k part, renormalized
reheat        loss + coef * mean cross-entropy to the policy's own distribution at T > 1
linear_bonus, cosine_bonus   loss - coef(step) * mean entropy
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from entrostat.control import Band, Cosine, Knob, Linear
from entrostat.control.pi import PI
from entrostat.errors import ConfigError
from entrostat.methods.base import Card, Link, MethodState, Source
from entrostat.methods.bonus import EntropyBonus
from entrostat.methods.chain import Chain
from entrostat.methods.registry import one, preset
from entrostat.types import Clamped, Nucleus, Reheated, Statistic, Surrogate, Term, TokenBatch, TopKEntropy


@dataclass(frozen=True)
class StatisticTerm(Link):
    """loss + sign * coef * mean of a statistic that carries a gradient.

    Args:
        of: the statistic, with `gradient=True`.
        coef: number, schedule or controller.
        sign: -1 for a bonus, 1 for a penalty.
    """

    of: Statistic
    coef: Knob
    sign: float = -1.0

    card: ClassVar[Card] = Card("statistic_term", effect="raises", writes=("terms/statistic",), knobs={"coef": "raise"})

    @property
    def record(self) -> Card:
        return replace(self.card, want=(self.of,), terms=(self.of,))

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        coef = state.knobs["coef"].output
        if coef == 0:
            return surrogate  # no graph for a term that is multiplied by zero
        term = Term("statistic", self.of, batch.mask, self.sign * coef)
        return replace(surrogate, terms=(*surrogate.terms, term))


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
        band: lower and upper entropy [nats per token] between which the coefficient rests.
        rate, limits: of the coefficient under a band.
    """
    if band is not None:
        if not isinstance(coef, int | float):
            raise ConfigError(f"coef is where the coefficient starts when there is a band: give a number, got {coef!r}")
        coef = PI(band, 0.0, rate, limits, start=float(coef))
    return one("aent", StatisticTerm(Clamped(dropped, gradient=True), coef))


@preset(
    Source(
        "2602.03635", "TRE, Section 3; verl fork by WhyChaos", "no default is known for coef; 0.001 is ours, top-p 0.9"
    ),
    effect="raises",
)
def tre(coef: Knob = 1e-3, top_p: float | None = 0.9, top_k: int | None = None) -> Chain:
    """Bonus on the entropy of the distribution renormalized over its top-p or top-k part.

    Args:
        coef: number, schedule or controller.
        top_p, top_k: the part; give one.
    """
    if (top_p is None) == (top_k is None):
        raise ConfigError(f"give one of top_p and top_k, got {top_p!r} and {top_k!r}: top_p=None with top_k=20")
    of: Statistic = Nucleus(top_p, gradient=True) if top_p is not None else TopKEntropy(int(top_k or 0), gradient=True)
    return one("tre", StatisticTerm(of, coef))


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
    """Distil the policy's own distribution at a higher temperature into it: an actuator for a policy that has collapsed.

    Args:
        temperature: of the teacher, above 1, relative to the sampling temperature.
        coef: number, schedule or controller.
    """
    if not temperature > 1:
        raise ConfigError(f"temperature must be above 1 to reheat, got {temperature!r}")
    return one("reheat", StatisticTerm(Reheated(temperature, gradient=True), coef, sign=1.0))


@preset(Source("none", "a common schedule; TRL issue 5584", "0.01 to 0"), effect="raises")
def linear_bonus(steps: int, start: float = 0.01, end: float = 0.0) -> Chain:
    """An entropy bonus whose coefficient falls in a straight line over `steps` optimizer steps.

    Args:
        steps: over which the coefficient falls.
        start, end: coefficients.
    """
    return one("linear_bonus", EntropyBonus(Linear(start, end, steps)))


@preset(Source("none", "a common schedule; TRL issue 5584", "0.01 to 0"), effect="raises")
def cosine_bonus(steps: int, start: float = 0.01, end: float = 0.0) -> Chain:
    """An entropy bonus whose coefficient falls along half a cosine over `steps` optimizer steps.

    Args:
        steps: over which the coefficient falls.
        start, end: coefficients.
    """
    return one("cosine_bonus", EntropyBonus(Cosine(start, end, steps)))
