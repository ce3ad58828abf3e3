"""MAI: the room that unlikely tokens of correct samples have to grow follows the entropy.

[1 - eps, 1 / (1 - eps) + k],  k <- clip(k + delta sign(target - H), 0, k_max)
"""

from __future__ import annotations

from entrostat.control import Step, TargetLike
from entrostat.control.targets import as_target
from entrostat.errors import ConfigError
from entrostat.methods.chain import Chain
from entrostat.methods.clip_range import ADAPTIVE, ClipRange
from entrostat.methods.record import Source
from entrostat.methods.registry import one, preset


@preset(
    Source(
        "MAI-Thinking-1",
        "technical report, adaptive clip; as the recipe of a fork of miles has it",
        "eps 0.6, target 0.3, delta 0.25, k within (0, 2.5)",
        ("the exact entropy steers it; the recipe uses the importance-weighted surprisal",),
    ),
    effect="holds",
    notes=ADAPTIVE,
)
def mai_clip(target: TargetLike = 0.3, eps: float = 0.6, delta: float = 0.25, k_max: float = 2.5) -> Chain:
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
    return one("mai_clip", ClipRange(Step(as_target(target), delta, (base, base + k_max), base, gated=False), eps))
