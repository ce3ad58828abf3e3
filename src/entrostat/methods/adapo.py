"""ADAPO: the room that unlikely tokens of correct samples have to grow follows the entropy.

eps_high doubles below the target and halves above it
"""

from __future__ import annotations

from entrostat.control import Initial, TargetLike
from entrostat.control.doubling import Doubling
from entrostat.control.targets import as_target
from entrostat.methods.chain import Chain
from entrostat.methods.clip_range import ADAPTIVE, ClipRange
from entrostat.methods.record import Source
from entrostat.methods.registry import one, preset


@preset(
    Source(
        "2603.11682",
        "ADAPO, Section 5",
        "eps_high from 0.28, target the initial entropy",
        ("the paper's rule for the step is not known: here the clip is doubled or halved, as REPO-R's coefficient is",),
    ),
    effect="holds",
    notes=ADAPTIVE,
)
def adapo(
    target: TargetLike = Initial(),  # noqa: B008  # frozen
    start: float = 0.28,
    smallest: float = 0.05,
    largest: float = 2.0,
    eps_low: float = 0.2,
) -> Chain:
    """Widen the upper clip below the target entropy, narrow it above.

    Args:
        target: entropy [nats per token].
        start: upper clip before the first measurement.
        smallest: lowest upper clip.
        largest: highest upper clip.
        eps_low: lower clip.
    """
    return one("adapo", ClipRange(Doubling(as_target(target), start, smallest, largest, both_signs=False), eps_low))
