"""Lp-Reg: unlikely tokens that the old policy held to be reasonable are not pushed out by negative samples.

Of the tokens with A < 0, the `share` of lowest log p, where log p < log p_proxy: plus coef * k3(log p, log p_proxy),
with p_proxy the old policy after a min-p filter. The lower clip is off, the upper one at a ratio of 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from entrostat.control import Knob
from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.methods.scopes import in_top
from entrostat.types import MinP, Old, Surrogate, Term, TokenBatch


@dataclass(frozen=True)
class LowProbabilityRegularization(Link):
    """Keep unlikely tokens of wrong samples near the old policy, if it finds them plausible ("reasoning sparks").

    Args:
        share: share of the tokens with A < 0, the least likely, that the term acts on.
        kappa: threshold of the min-p filter: tokens with p_old < kappa max p_old count as noise.
        coef: coefficient of the term: a number, schedule or controller.
        scope: tokens over which the share is taken: "step" or "micro".
    """

    share: float = 0.01
    kappa: float = 0.02
    coef: Knob = 1.0
    scope: Literal["step", "micro"] = "step"

    card: ClassVar[Card] = Card(
        "lp_reg",
        effect="raises",
        writes=("eps_low", "eps_high", "dual_clip", "terms/lp_reg"),
        terms=("k3",),
        knobs={"coef": "raise"},
        bounds={"kappa": "[0, 1]", "coef": "[0, inf)"},
        notes=(
            "the thresholds need tuning for each model size",
            "the gradient of k3 has no bound where log p is far below the proxy's",
        ),
        pools=("surprisal",),
        source=Source(
            "2510.03222",
            "Eq. 6; CarlanLark/Lp-Reg-dev",
            "share 0.01 (14B; 0.005 for 32B), kappa 0.02, coef 1, clip (1, 9)",
            (
                "the share is of the optimizer step (scope='step'); the release takes the micro-batch's, the paper the batch's",
            ),
        ),
    )

    @property
    def record(self) -> Card:
        return replace(super().record, want=(Old("logp"), Old(MinP(self.kappa))))

    @torch.no_grad()
    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        negative = batch.mask & (surrogate.advantages_BT < 0)
        return {"surprisal": batch.stats.surprisal.detach()[negative]} if self.scope == "step" else {}

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        negative = batch.mask & (surrogate.advantages_BT < 0)
        surprisal, proxy = batch.stats.surprisal.detach(), batch.need(Old(MinP(self.kappa))).detach()
        lowest = in_top(surprisal, negative, self.top, self.scope, batch, state.memory.get("surprisal"))
        chosen = lowest & (-surprisal < proxy)
        reference = (proxy - batch.need(Old("logp")).detach()).masked_fill(~chosen, 0)
        term = Term(
            "lp_reg", "k3", batch.mask, state.knobs["coef"].output, chosen.to(proxy.dtype), reference_BT=reference
        )
        return replace(surrogate, eps_low=1.0, eps_high=9.0, dual_clip=None, terms=(*surrogate.terms, term))


lp_reg = register(LowProbabilityRegularization)
