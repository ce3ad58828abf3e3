"""E3: the sampling temperature follows the entropy; no gradient is touched.

T <- T (1 + T log(H_target / H) / (log V + log log V))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import register
from entrostat.types import Summary


@dataclass(frozen=True)
class E3Temperature(Link):
    """Move the sampling temperature by the change that should bring the entropy to its target.

    Args:
        vocabulary: size V of the vocabulary.
        target: entropy [nats per token]; if not given, the mean over the first `first` steps.
        first: steps over which the target is measured, if none is given.
        limits: lowest and highest temperature, relative to the host's; the release has none.
    """

    vocabulary: int
    target: float | None = None
    first: int = 10
    limits: tuple[float, float] = (0.25, 4.0)

    card: ClassVar[Card] = Card(
        "e3_temperature",
        effect="holds",
        writes=("temperature",),
        bounds={"target": "(0, inf)"},
        goals=("target",),
        source=Source(
            "none",
            "LiaoMengqi/E3-RL4LLMs, its temperature scheduler",
            "the target is the mean of the first steps",
            ("the temperature has limits", "its annealing over the last 40 % of the steps is not here"),
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary < 3 or self.first < 1:
            raise ConfigError(
                f"vocabulary must be at least 3 and first at least 1, got {self.vocabulary!r} and {self.first!r}"
            )
        if not 0 < self.limits[0] <= 1 <= self.limits[1]:
            raise ConfigError(f"limits must be temperatures around 1, got {self.limits!r}")

    def init(self) -> MethodState:
        return MethodState({}, {"temperature": 1.0, "step": 0.0, "target": self.target or 0.0})

    def temperature(self, state: MethodState) -> float:
        return state.memory["temperature"]

    def remember(self, summary: Summary, memory: Mapping[str, float]) -> Mapping[str, float]:
        entropy, step, t = summary.mean("entropy"), memory["step"] + 1, memory["temperature"]
        target = memory["target"]
        if self.target is None and step <= self.first:
            target += (entropy - target) / step
        if (self.target is not None or step > self.first) and entropy > 0 and target > 0:
            scale = math.log(self.vocabulary) + math.log(math.log(self.vocabulary))
            t = min(max(t * (1 + t * math.log(target / entropy) / scale), self.limits[0]), self.limits[1])
        return {"temperature": t, "step": step, "target": target}


e3_temperature = register(E3Temperature)
