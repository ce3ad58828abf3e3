"""Interventions: train on one kind of token alone, to see which way it moves the entropy.

Source: 2602.03392, the four experiments that test the sign of the discriminator.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from entrostat.methods.authority import REQUIRES
from entrostat.methods.base import Link, MethodState
from entrostat.methods.chain import Chain
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import one, preset
from entrostat.types import Surrogate, TokenBatch


@dataclass(frozen=True)
class OnlyTokens(Link):
    """Keep only the tokens of one sign of advantage and one sign of the discriminator S; the rest weigh 0.

    The theory predicts: positive samples with S > 0 and negative ones with S < 0 lower the entropy, others raise it.
    """

    samples: Literal["positive", "negative"]
    discriminator: Literal["positive", "negative"]

    card: ClassVar[Card] = Card("only_tokens", want=REQUIRES, writes=("weight_BT",))

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        sample = surrogate.advantages_BT if self.samples == "positive" else -surrogate.advantages_BT
        stats = batch.stats.detach()
        side = stats.discriminator if self.discriminator == "positive" else -stats.discriminator
        kept = batch.mask & (sample > 0) & (side > 0)
        return dataclasses.replace(surrogate, weight_BT=kept.to(surrogate.advantages_BT.dtype))


@preset(
    Source("2602.03392", "the interventions that test the theorem", "one sign of advantage, one of S"), effect="either"
)
def only_tokens(
    samples: Literal["positive", "negative"] = "positive", discriminator: Literal["positive", "negative"] = "positive"
) -> Chain:
    """Train on the tokens of one sign of advantage and one sign of the discriminator alone.

    Args:
        samples: of which sign of advantage.
        discriminator: of which sign of S.
    """
    return one("only_tokens", OnlyTokens(samples, discriminator))
