"""Flow control: tokens are weighted by what they do to the entropy.

The controller's output u says how much the entropy should move, the flow through which tokens:

    f_t = A_t D_t / rms(A D);   w_t = clip(1 + u f_t, 0, w_max)

u > 0 gives weight to the tokens that lower the entropy and takes it from those that raise it; the predicted change per
unit of u is -rms(A D) per token, whatever the batch: never the wrong sign. No weight is negative, so no correct
token is punished. Source: docs/methods/flow.md; D from 2602.03392, Eq. 8.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from entrostat.control.base import Action
from entrostat.control.knob import Knob
from entrostat.errors import ConfigError
from entrostat.methods import authority
from entrostat.methods.base import Link, MethodState
from entrostat.types import Summary, Surrogate, TokenBatch


@dataclass(frozen=True)
class Flow(Link):
    """Weight each token by 1 + u * (its share of the entropy flow).

    Args:
        u: output, usually a `PI`; u > 0 lowers the entropy.
        w_max: largest weight of a token.
        scope: where rms(A D) comes from: "step", the last optimizer step over all its tokens (weights are 1 until there
            is one), or "micro", this micro-batch.
    """

    u: Knob
    w_max: float = 5.0
    scope: Literal["step", "micro"] = "step"

    name: ClassVar[str] = "flow"
    actions: ClassVar[Mapping[str, Action]] = {"u": "lower"}
    writes: ClassVar[frozenset[str]] = frozenset({"weight_BT"})
    requires: ClassVar[frozenset[str]] = authority.REQUIRES

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.w_max) and self.w_max > 1):
            raise ConfigError(
                f"w_max must be a finite number above 1, the weight of an untouched token; got {self.w_max}"
            )
        if self.scope not in ("step", "micro"):
            raise ConfigError(f"scope must be 'step' or 'micro', got {self.scope!r}")

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        output = state.knobs["u"].output
        gain = (surrogate.advantages_BT * batch.stats.detach().centred).masked_fill(~batch.mask, 0)
        scale: Tensor | float
        if self.scope == "micro":
            rms = (gain.square().sum() / batch.mask.sum().clamp_min(1)).sqrt()
            scale = rms.masked_fill(rms == 0, math.inf)
        else:
            scale = state.memory.get("rms", math.inf)
        share = gain / scale

        def weight(u: float) -> Tensor:
            return (1 + u * share).clamp(0, self.w_max)

        sums = authority.authority_sums(surrogate, batch, weight, self.u, output)
        return dataclasses.replace(
            surrogate,
            weight_BT=weight(output).to(surrogate.advantages_BT.dtype),
            sums={**surrogate.sums, **sums, "gain_sq": gain.square().sum(dtype=sums["predicted"].dtype)},
        )

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        rms = math.sqrt(summary.mean("gain_sq"))
        # A step in which every advantage was 0 says nothing about the scale: keep the last one.
        return {"rms": rms} if rms > 0 else memory

    def report(self, summary: Summary) -> dict[str, float]:
        return authority.report_authority(summary) | {"flow_rms": math.sqrt(summary.mean("gain_sq"))}
