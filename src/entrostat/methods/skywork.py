"""AEC of Skywork-OR1: an entropy bonus below a target, whose coefficient moves by a fixed step.

loss - coef * mean(H) where H < target;  coef <- clip(coef + delta sign(target - H))
"""

from __future__ import annotations

from entrostat.control import Step, TargetLike
from entrostat.control.targets import as_target
from entrostat.methods.bonus import EntropyBonus
from entrostat.methods.chain import Chain
from entrostat.methods.holding import GLOBAL_MEASUREMENT
from entrostat.methods.record import Source
from entrostat.methods.registry import one, preset


@preset(
    Source(
        "2505.22312",
        "Skywork-OR1 adaptive entropy control, EntController of its release",
        "target 0.2, delta 1e-4, coefficient within (0, 5e-3)",
        (
            GLOBAL_MEASUREMENT,
            "the release steers on the mean surprisal of the sampled "
            "tokens; here on the exact entropy, of which that is an estimate",
        ),
    ),
    effect="holds",
)
def skywork(
    target: TargetLike = 0.2, delta: float = 1e-4, limits: tuple[float, float] = (0.0, 5e-3), start: float = 0.0
) -> Chain:
    """Skywork-OR1 (AEC): an entropy bonus below the target, whose coefficient moves by delta each step.

    Args:
        target: entropy below which the bonus acts [nats per token].
        delta: step of the coefficient.
        limits: lowest and highest coefficient.
        start: coefficient before the first measurement.
    """
    return one("skywork", EntropyBonus(Step(as_target(target), delta, limits, start)))
