"""Flow control: tokens are weighted by what they do to the entropy.

The controller's output u says how much the entropy should move, the share f_t through which tokens:

    w_t = clip(1 + u f_t, 0, w_max);   f_t = x_t / scale(x)

u > 0 gives weight to the tokens that lower the entropy and takes it from those that raise it. Every shape x has the sign of
A D, so the predicted change per unit of u, -mean(A D f) per token, never has the wrong sign, whatever the batch. No weight is
negative, so no correct token is punished. Source: docs/methods/flow.md and docs/frontier.md; D from 2602.03392, Eq. 8.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from entrostat.control import Initial, Knob, TargetLike
from entrostat.control.targets import as_target
from entrostat.methods.authority import REQUIRES, AuthorityLink
from entrostat.methods.base import MethodState
from entrostat.methods.chain import Chain
from entrostat.methods.holding import BY_CONTROLLER, holding
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset
from entrostat.stats.summarize import sum_dtype
from entrostat.types import Summary, Surrogate, TokenBatch

Shape = Literal["flow", "cost", "sign"]
Samples = Literal["all", "positive", "negative"]

# Where 1 - p is below this, D and q, both of the order of its square, are rounding in single precision, and so is D / q.
_LEAST_DOUBT = 1e-3
_TINY = 1e-30  # in place of a sum of squares that is zero, as is then what it divides


@dataclass(frozen=True)
class Flow(AuthorityLink):
    """Weight each token by 1 + u * (its share of the entropy flow).

    Args:
        u: output, usually a `PI`; u > 0 lowers the entropy.
        w_max: largest weight of a token.
        scope: where scale(x) comes from: "step", the last optimizer step over all its tokens (weights are 1 until there
            is one), or "micro", this micro-batch.
        shape: x, a token's part in the change: "flow", A D, proportional to its effect on the entropy; "cost", D / (A q),
            proportional to its effect per cost in reward, with q = 1 - 2 p_k + sum p^2 the squared length of its gradient at the
            logits; "sign", the sign of A D, the same for all. scale(x) is rms(x); for "cost", whose x has no bound when an
            advantage is near zero, it is rms(A x) / rms(A).
        samples: whose tokens are weighted: of samples with "positive" or "negative" advantage, or of "all".
    """

    u: Knob
    w_max: float = 5.0
    scope: Literal["step", "micro"] = "step"
    shape: Shape = "flow"
    samples: Samples = "all"

    card: ClassVar[Card] = Card(
        "flow",
        want=REQUIRES,
        writes=("weight_BT",),
        knobs={"u": "lower"},
        bounds={"w_max": "(1, inf)"},  # 1 is the weight of an untouched token
    )

    @property
    def record(self) -> Card:
        more = ("collision",) if self.shape == "cost" else ()
        return dataclasses.replace(
            self.card, want=(*REQUIRES, *more), sums=(*self.authority_sums, "gain_sq", "gain_per")
        )

    def _shape(self, advantages_BT: Tensor, batch: TokenBatch) -> Tensor:
        """x of each token, (B, T); 0 where the mask, the advantage or the choice of samples says so."""
        stats = batch.stats.detach()
        weighted = batch.mask
        if self.samples != "all":
            weighted = weighted & (advantages_BT > 0 if self.samples == "positive" else advantages_BT < 0)
        if self.shape == "flow":
            x = advantages_BT * stats.centered
        elif self.shape == "sign":
            x = (advantages_BT * stats.centered).sign()
        else:
            doubt = -torch.expm1(stats.need("logp"))
            weighted = weighted & (advantages_BT != 0) & (doubt > _LEAST_DOUBT)
            # The others' sum p^2 lies between 0 and (1 - p)^2, which bounds what cancels in sum p^2 - p^2.
            cost = doubt**2 + torch.minimum((stats.need("collision") - stats.prob**2).clamp_min(0), doubt**2)
            x = stats.centered / (advantages_BT * cost).masked_fill(~weighted, 1)
        return x.masked_fill(~weighted, 0)

    @torch.no_grad()
    def at(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Callable[[str, float], Surrogate]:
        shape = self._shape(surrogate.advantages_BT, batch)
        scale: Tensor | float
        if self.scope == "micro":
            sizes = self._sizes(shape, surrogate.advantages_BT, batch)
            rms = (sizes["gain_sq"] / sizes["gain_per"].clamp_min(_TINY)).sqrt().to(shape.dtype)
            scale = rms.masked_fill(rms == 0, math.inf)
        else:
            scale = state.memory.get("rms", math.inf)
        share = shape / scale

        def changed(_: str, u: float) -> Surrogate:
            weight = (1 + u * share).clamp(0, self.w_max)
            return dataclasses.replace(surrogate, weight_BT=weight.to(surrogate.advantages_BT.dtype))

        return changed

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        sizes = self._sizes(self._shape(surrogate.advantages_BT, batch), surrogate.advantages_BT, batch)
        return {**super().measure(surrogate, batch, state), **sizes}

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        return self.at(surrogate, batch, state)("u", state.knobs["u"].output)

    def _sizes(self, shape: Tensor, advantages_BT: Tensor, batch: TokenBatch) -> dict[str, Tensor]:
        """The sums whose ratio is the square of scale(x)."""
        dtype = sum_dtype(shape.device)
        gain, per = shape, batch.mask
        if self.shape == "cost":
            advantages = advantages_BT.masked_fill(~batch.mask, 0)
            gain, per = advantages * shape, advantages.square()
        return {"gain_sq": gain.square().sum(dtype=dtype), "gain_per": per.sum(dtype=dtype)}

    def _scale(self, summary: Summary) -> float:
        """scale(x) of a step; 0 where there was no advantage."""
        return math.sqrt(summary.mean("gain_sq") / max(summary.mean("gain_per"), _TINY))

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        rms = self._scale(summary)
        # A step in which every advantage was 0 says nothing about the scale: keep the last one.
        return {"rms": rms} if rms > 0 else memory

    def report(self, summary: Summary) -> dict[str, float]:
        return {"flow_rms": self._scale(summary)}


@preset(
    Source(
        "Entrostat (joins 2511.15248 and 2602.03392)",
        "docs/methods/flow.md",
        "gains found while it runs, for a settling time of 30 steps; output within (-2, 2), w_max 5",
    ),
    effect="holds",
    replaces=BY_CONTROLLER,
)
def flow(
    target: TargetLike = Initial(),  # noqa: B008  # frozen
    settling: float | None = None,
    kp: float | None = None,
    ki: float | None = None,
    limits: tuple[float, float] = (-2.0, 2.0),
    w_max: float = 5.0,
    scope: Literal["step", "micro"] = "step",
    shape: Shape = "flow",
    samples: Samples = "all",
    controller: Knob | None = None,
) -> Chain:
    """Hold the entropy by weighting each token by its own effect on it.

    Args:
        target: entropy to hold [nats per token]: a number, `Initial()`, a schedule or a `Band`.
        settling: optimizer steps after which an error stays within 5 % of its first size; 30 if not set. The gains follow from
            it, see `SelfTuning`.
        kp, ki: fixed gains of a PI controller in place of the self-tuning one; one that is not given is 0.
        limits: lowest and highest output.
        w_max: largest weight of a token.
        scope, shape, samples: how a token's share is found, and whose tokens are weighted; see `Flow`.
        controller: takes the place of the one that target, settling, gains and limits make; none of them is given beside it.

    Raises:
        ConfigError: a settling time beside fixed gains, which have their own.
    """
    if controller is None:
        controller = holding(as_target(target), settling, kp, ki, limits)
    return one("flow", Flow(controller, w_max, scope, shape, samples))
