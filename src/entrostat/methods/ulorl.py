"""UloRL's mask: what a confident, correct completion has mastered is not trained on.

weight 0 where R = 1, mean(H_i) < entropy and p >= threshold; else 1
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from entrostat.methods.base import Link, MethodState, rewards
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Surrogate, TokenBatch


@dataclass(frozen=True)
class MasteredTokens(Link):
    """No loss on tokens with p >= `threshold` of reward-1 completions whose mean entropy is below `entropy`.

    The denominator stays that of all tokens.

    Args:
        threshold: probability from which a token counts as mastered.
        entropy: [nats per token]; without this gate the entropy rises without bound, as the paper reports.
    """

    threshold: float = 0.99
    entropy: float = 0.2

    card: ClassVar[Card] = Card(
        "ulorl",
        effect="raises",
        want=("entropy",),
        writes=("weight_BT",),
        needs=("rewards",),
        bounds={"threshold": "(0, 1)", "entropy": "[0, inf)"},
        source=Source(
            "2507.19766",
            "DMMPTs, Eqs. 9 and 10; no code was released",
            "p >= 0.99, entropy below 0.2",
            (
                "the gate reads each completion's mean entropy, as the formula has it; the prose can be read as the batch's",
            ),
        ),
    )

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        entropy = batch.stats.need("entropy").masked_fill(~batch.mask, 0)
        mean_B = entropy.sum(1) / batch.mask.sum(1).clamp_min(1)
        correct_B = (rewards(batch, "ulorl") == 1) & (mean_B < self.entropy)
        mastered = correct_B.unsqueeze(1) & (batch.stats.need("logp") >= math.log(self.threshold))
        return replace(surrogate, weight_BT=(~mastered).to(surrogate.advantages_BT.dtype))


ulorl = register(MasteredTokens)
