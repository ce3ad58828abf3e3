"""The preset of this project: an entropy bonus of either sign, whose coefficient a controller sets.

loss - coef * mean(H),  coef by `SelfTuning`
"""

from __future__ import annotations

from entrostat.control import Initial, Knob, TargetLike
from entrostat.control.targets import as_target
from entrostat.methods.bonus import EntropyBonus
from entrostat.methods.chain import Chain
from entrostat.methods.holding import BY_CONTROLLER, holding
from entrostat.methods.record import Source
from entrostat.methods.registry import one, preset


@preset(
    Source(
        "Entrostat (docs/frontier.md; the bonus: 1602.01783)",
        "docs/methods/hold.md",
        "gains found while it runs, for a settling time of 30 steps; coefficient within (-1, 1)",
    ),
    effect="holds",
    replaces=BY_CONTROLLER,
)
def hold(
    target: TargetLike = Initial(0.75),  # noqa: B008 it is a constant
    settling: float | None = None,
    kp: float | None = None,
    ki: float | None = None,
    limits: tuple[float, float] = (-1.0, 1.0),
    controller: Knob | None = None,
) -> Chain:
    """Hold the entropy with an entropy bonus whose coefficient, positive or negative, is set by a controller.

    Among the methods that act through the gradient it reaches furthest (docs/frontier.md).

    Args:
        target: entropy to hold [nats per token]: a number, a share of the entropy at the start, a schedule or a `Band`. Three
            quarters of the start were best of five levels where it is hard to find a right answer (docs/study.md).
        settling: optimizer steps after which an error stays within 5 % of its first size; 30 if not set. The gains follow from
            it, see `SelfTuning`.
        kp, ki: fixed gains of a PI controller in place of the self-tuning one; one that is not given is 0.
        limits: lowest and highest coefficient.
        controller: takes the place of the one that the settings above make; none of them is given beside it.

    Raises:
        ConfigError: a settling time beside fixed gains, which have their own.
    """
    if controller is None:
        controller = holding(as_target(target), settling, kp, ki, limits)
    return one("hold", EntropyBonus(controller))
