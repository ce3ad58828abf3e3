"""The entropy bonus: the mean entropy as a term of the loss.

Its step at the logits follows the entropy's own gradient, -S with S_i = p_i (H + log p_i), so it raises the entropy by coef |S|^2
per unit of step (docs/frontier.md, equation 2). The sampled token k tells |S|^2 without bias: it is the mean of
p_k (H + log p_k)^2 over k. So the self-tuning controller is told what its coefficients do, as it is of weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from entrostat.control import Knob, Step, Target
from entrostat.control.knob import reads_effect
from entrostat.methods.authority import REQUIRES, AuthorityLink
from entrostat.methods.base import Card, MethodState, Source
from entrostat.methods.chain import Chain
from entrostat.methods.holding import GLOBAL_MEASUREMENT, holding
from entrostat.methods.registry import one, preset
from entrostat.types import Surrogate, Term, TokenBatch


@dataclass(frozen=True)
class EntropyBonus(AuthorityLink):
    """loss - coef * mean(H). A positive coefficient raises the entropy, a negative one lowers it.

    Args:
        coef: number, schedule or controller. With `Step` this is Skywork-OR1's adaptive entropy control.
    """

    coef: Knob

    card: ClassVar[Card] = Card(
        "entropy_bonus", want=("entropy",), writes=("terms/entropy_bonus",), terms=("entropy",), knobs={"coef": "raise"}
    )

    @property
    def record(self) -> Card:
        # Without a controller that asks for its effect nothing but the entropy is needed.
        if not reads_effect(self.coef):
            return self.card
        return dataclasses.replace(self.card, want=REQUIRES, sums=self.authority_sums)

    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        return super().measure(surrogate, batch, state) if reads_effect(self.coef) else {}

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        coef = state.knobs["coef"].output
        if coef == 0:
            # No graph for a term that is multiplied by zero; the controller goes on all the same.
            return surrogate
        term = Term("entropy_bonus", "entropy", batch.mask, -coef)
        return dataclasses.replace(surrogate, terms=(*surrogate.terms, term))


@preset(
    Source(
        "Entrostat (docs/frontier.md; the bonus: 1602.01783)",
        "docs/methods/hold.md",
        "gains found while it runs, for a settling time of 30 steps; coefficient within (-1, 1)",
    ),
    effect="holds",
)
def hold(
    target: Target,
    settling: float | None = None,
    kp: float | None = None,
    ki: float | None = None,
    limits: tuple[float, float] = (-1.0, 1.0),
    controller: Knob | None = None,
) -> Chain:
    """Hold the entropy by the actuator that measurements speak for: an entropy bonus of either sign, set by a controller.

    Of all that act through the gradient it reaches furthest (docs/frontier.md).

    Args:
        target: entropy to hold [nats per token]: a number, `Initial()`, a schedule or a `Band`.
        settling: optimizer steps after which an error stays within 5 % of itself; 30 where nothing is said. The gains
            follow from it, see `SelfTuning`.
        kp, ki: fixed gains of a PI controller in place of the self-tuning one; what is left out is 0.
        limits: lowest and highest coefficient.
        controller: replaces the controller and its target.

    Raises:
        ConfigError: a settling time beside fixed gains, which have their own.
    """
    return one("hold", EntropyBonus(holding(target, settling, kp, ki, limits, controller)))


@preset(Source("1602.01783", "entropy regularisation; TRL entropy_coef, verl entropy_coeff", "0.001"), effect="raises")
def entropy_bonus(coef: Knob = 1e-3) -> Chain:
    """loss - coef * mean entropy; the coefficient may be a schedule or a controller."""
    return one("entropy_bonus", EntropyBonus(coef))


@preset(
    Source(
        "2505.22312",
        "Skywork-OR1 adaptive entropy control, EntController of its release",
        "target 0.2, delta 1e-4, coefficient within (0, 5e-3)",
        (GLOBAL_MEASUREMENT,),
    ),
    effect="holds",
)
def skywork(
    target: Target = 0.2, delta: float = 1e-4, limits: tuple[float, float] = (0.0, 5e-3), start: float = 0.0
) -> Chain:
    """Skywork-OR1 (AEC): an entropy bonus below the target, whose coefficient moves by delta each step.

    Args:
        target: entropy below which the bonus acts [nats per token].
        delta: step of the coefficient.
        limits: lowest and highest coefficient.
        start: coefficient before the first measurement.
    """
    return one("skywork", EntropyBonus(Step(target, delta, limits, start)))
