"""Adaptive upper clips: the room that unlikely tokens of correct samples have to grow follows the entropy.

ADAPO  eps_high doubles below the target and halves above it
MAI    [1 - eps, 1 / (1 - eps) + k],  k <- clip(k + delta sign(target - H), 0, k_max)
"""

from __future__ import annotations

from entrostat.control import Initial, Step, Target
from entrostat.control.doubling import Doubling
from entrostat.errors import ConfigError
from entrostat.methods.base import Source
from entrostat.methods.chain import Chain
from entrostat.methods.clip_range import ClipRange
from entrostat.methods.registry import one, preset

_NOTES = (
    "does nothing while every importance ratio is 1",
    "on policies that learn, a larger upper clip gives more reward at equal entropy rather than more entropy",
)


@preset(
    Source(
        "2603.11682",
        "ADAPO, Section 5",
        "eps_high from 0.28, target the initial entropy",
        ("the paper's rule for the step is not known: here the clip is doubled or halved, as REPO-R's coefficient is",),
    ),
    effect="holds",
    notes=_NOTES,
)
def adapo(
    target: Target = Initial(),  # noqa: B008  # frozen
    start: float = 0.28,
    smallest: float = 0.05,
    largest: float = 2.0,
    eps_low: float = 0.2,
) -> Chain:
    """Widen the upper clip below the target entropy, narrow it above.

    Args:
        target: entropy [nats per token].
        start, smallest, largest: the upper clip at first and at its limits.
        eps_low: the lower clip.
    """
    return one("adapo", ClipRange(Doubling(target, start, smallest, largest, both_signs=False), eps_low))


@preset(
    Source(
        "MAI-Thinking-1",
        "technical report, adaptive clip; as the recipe of a fork of miles has it",
        "eps 0.6, target 0.3, delta 0.25, k within (0, 2.5)",
        ("the exact entropy steers it; the recipe uses the importance-weighted surprisal",),
    ),
    effect="holds",
    notes=_NOTES,
)
def mai_clip(target: Target = 0.3, eps: float = 0.6, delta: float = 0.25, k_max: float = 2.5) -> Chain:
    """Clip the ratio to [1 - eps, 1 / (1 - eps) + k], where k steps up below the target entropy and down above.

    Args:
        target: entropy [nats per token].
        eps: the lower clip; the upper one mirrors it in the logarithm.
        delta: step of k.
        k_max: largest k; the smallest is 0.
    """
    if not 0 < eps < 1 or k_max <= 0:
        raise ConfigError(f"eps must lie in (0, 1) and k_max above 0, got {eps!r} and {k_max!r}")
    base = 1 / (1 - eps) - 1
    return one("mai_clip", ClipRange(Step(target, delta, (base, base + k_max), base, gated=False), eps))
