"""KL-Cov: tokens whose log-probability and advantage move together most are held to the old policy.

cov_t = (A_t - mean A) (log p_t - mean log p);   loss_t = -r A + coef |log r| on the largest `share` of cov, else -r A
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from entrostat.control import Knob
from entrostat.methods.base import Link, MethodState, counting
from entrostat.methods.covariance import advantage_sum, covariance, means
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.methods.scopes import Top, in_top
from entrostat.types import Summary, Surrogate, Term, TokenBatch


@dataclass(frozen=True)
class KLCov(Link):
    """Penalize |log r| on the tokens of largest covariance of advantage and log-probability; no clip anywhere.

    Args:
        share: share of the tokens that is penalized, as a fraction: the paper has 2e-3 for 7B and 2e-4 for 32B.
        coef: coefficient of the penalty: a number, schedule or controller.
        scope: tokens over which means and largest covariances are taken: "step" or "micro".
    """

    share: float = 2e-3
    coef: Knob = 1.0
    scope: Literal["step", "micro"] = "step"

    card: ClassVar[Card] = Card(
        "kl_cov",
        effect="raises",
        writes=("eps_low", "eps_high", "dual_clip", "terms/kl_cov"),
        terms=("abs_log_ratio",),
        needs=("stale",),
        knobs={"coef": "raise"},
        bounds={"coef": "[0, inf)"},
        sums=("advantage", "chosen"),
        metrics={"chosen_share": "share of the tokens that are penalized"},
        notes=(
            "on-policy the penalty's gradient is sign(0) = 0: it acts from the second optimizer step on a batch",
            "the share is a fraction; the first release counts in percent, and copies are off by a factor of 100",
        ),
        pools=("covariance",),
        source=Source(
            "2505.22617",
            "KL-Cov, Eq. 14; verl's policy loss kl_cov",
            "share 2e-3, coef 1",
            (
                "means and threshold are of the optimizer step over all its tokens (scope='step'), of the last one where the "
                "host does not have it at hand; the release takes them from the micro-batch of one rank (scope='micro')",
            ),
        ),
    )

    @property
    def top(self) -> Top:
        return Top(self.share, "down")

    def measure(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Mapping[str, Tensor]:
        sums = {"advantage": advantage_sum(surrogate, batch)}
        if self.scope == "step":
            sums["covariance"] = covariance(surrogate, batch, self.scope, state.memory)[batch.mask]
        return sums

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        together = covariance(surrogate, batch, self.scope, state.memory)
        chosen = in_top(together, batch.mask, self.top, self.scope, batch, state.memory.get("covariance"))
        term = Term("kl_cov", "abs_log_ratio", batch.mask, state.knobs["coef"].output, chosen.to(together.dtype))
        terms = (*surrogate.terms, term)
        return counting(surrogate, "chosen", chosen, eps_low=1.0, eps_high=math.inf, dual_clip=None, terms=terms)

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        return {**super().remember(summary, memory), **means(summary)}


kl_cov = register(KLCov)
