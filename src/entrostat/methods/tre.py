"""TRE: a bonus on the entropy of the likely part of the vocabulary.

loss - coef * mean entropy of the top-p or top-k part, renormalized
"""

from __future__ import annotations

from entrostat.control import Knob
from entrostat.errors import ConfigError
from entrostat.methods.chain import Chain
from entrostat.methods.record import Source
from entrostat.methods.registry import one, preset
from entrostat.methods.statistic_term import StatisticTerm
from entrostat.types import Nucleus, Statistic, TopKEntropy


@preset(
    Source(
        "2602.03635", "TRE, Section 3; verl fork by WhyChaos", "no default is known for coef; 0.001 is ours, top-p 0.9"
    ),
    effect="raises",
)
def tre(coef: Knob = 1e-3, top_p: float | None = 0.9, top_k: int | None = None) -> Chain:
    """Bonus on the entropy of the distribution renormalized over its top-p or top-k part.

    Args:
        coef: coefficient: a number, schedule or controller.
        top_p: probability mass of the part; give either this or top_k.
        top_k: number of tokens of the part.
    """
    if (top_p is None) == (top_k is None):
        raise ConfigError(f"give one of top_p and top_k, got {top_p!r} and {top_k!r}: top_p=None with top_k=20")
    of: Statistic = Nucleus(top_p, gradient=True) if top_p is not None else TopKEntropy(int(top_k or 0), gradient=True)
    return one("tre", StatisticTerm(of, coef))
