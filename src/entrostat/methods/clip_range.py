"""The clip range of the importance ratio, each end a knob."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from entrostat.control.base import Action
from entrostat.control.knob import Knob, is_feedback
from entrostat.errors import ConfigError
from entrostat.methods.base import Link, MethodState
from entrostat.types import Surrogate, TokenBatch


@dataclass(frozen=True)
class ClipRange(Link):
    """Clip the ratio to [1 - eps_low, 1 + eps_high].

    Does nothing where every ratio is 1, that is on strictly on-policy data: hosts warn of that.

    Args:
        eps_high: a larger one lets unlikely tokens of correct samples grow, and raises the entropy (2509.26114) at equal
            reward; it also speeds up learning, which lowers it (docs/methods/clip_higher.md). None keeps the host's.
        eps_low: a larger one lets tokens of wrong samples shrink further, and lowers it.
            None keeps the host's.
    """

    eps_high: Knob | None = None
    eps_low: Knob | None = None

    name: ClassVar[str] = "clip_range"
    actions: ClassVar[Mapping[str, Action]] = {"eps_high": "raise", "eps_low": "lower"}
    needs_stale_data: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for knob, controller in self.knobs.items():
            lowest = controller.limits[0] if is_feedback(controller) else controller.init().output
            if lowest < 0:
                raise ConfigError(f"{knob} must stay at zero or more, got {lowest}: set the controller's limits")

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset(self.knobs)

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: MethodState) -> Surrogate:
        return dataclasses.replace(surrogate, **{knob: own.output for knob, own in state.knobs.items()})
