"""REPO: no token's advantage is worth its own surprise.

A - beta (log p + H)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from entrostat.control import Knob
from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Surrogate, TokenBatch

ROUNDING = "log-probabilities rounded to bf16 bias it toward less entropy: they are computed in fp32 here"


@dataclass(frozen=True)
class Repo(Link):
    """Subtract beta (log p + H) from each token's advantage; its mean over the policy is 0 at every position.

    Args:
        beta: advantage per nat; above 0 it raises the entropy.
    """

    beta: Knob = 0.01

    card: ClassVar[Card] = Card(
        "repo",
        effect="raises",
        want=("entropy",),
        writes=("advantages_BT",),
        knobs={"beta": "raise"},
        notes=(ROUNDING,),
        source=Source("2603.11682", "REPO, Section 4", "no default is known for beta; 0.01 is ours"),
    )

    @torch.no_grad()
    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        centered = batch.stats.need("logp") + batch.stats.need("entropy")
        a = surrogate.advantages_BT - state.knobs["beta"].output * centered.masked_fill(~batch.mask, 0)
        return replace(surrogate, advantages_BT=a.to(surrogate.advantages_BT.dtype))


repo = register(Repo)
