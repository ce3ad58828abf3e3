"""AEPO of QwenLong-L1.5: where the entropy is too high, negative samples are left out until it has come down.

H > high: positive samples alone, until H < low
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Rollouts, Summary


@dataclass(frozen=True)
class AdaptiveEntropyControlled(Link):
    """Above `high` train on samples with A > 0 alone, until the entropy is below `low`.

    Args:
        low: entropy [nats per token] below which all samples count again; the paper's text gives no number.
        high: entropy above which only samples with A > 0 count; the same.
    """

    low: float
    high: float

    card: ClassVar[Card] = Card(
        "aepo_qwenlong",
        effect="holds",
        writes=("rows",),
        notes=(
            "made for long contexts, where the entropy explodes; a phase of positive samples alone collapses quickly if "
            "`low` is missed",
        ),
        source=Source(
            "2512.12967",
            "Section 3.3; its rule as corrected in Tongyi-Zhiwen/Qwen-Doc issue 16",
            "none: low and high must be given",
            ("whole samples are left out; the variant by tokens of high entropy is not here",),
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.low < self.high:
            raise ConfigError(f"low must be below high [nats per token], got {self.low!r} and {self.high!r}")

    @torch.no_grad()
    def score(self, rollouts: Rollouts, state: MethodState) -> Rollouts:
        if not state.memory.get("too_high", 0.0):
            return rollouts
        a = rollouts.advantages
        positive = (a if a.dim() == 1 else a.amax(1)) > 0
        kept = positive if rollouts.keep_B is None else rollouts.keep_B & positive
        return rollouts.replace(keep_B=kept)

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        entropy, before = summary.mean("entropy"), bool(memory.get("too_high", 0.0))
        return {"too_high": float(entropy > self.high or (before and entropy >= self.low))}


aepo_qwenlong = register(AdaptiveEntropyControlled)
