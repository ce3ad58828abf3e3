"""What somebody has set of TRL's advantages, for methods that build their own in place of them."""

from __future__ import annotations

import dataclasses
from typing import Any

from trl import RLOOConfig

from entrostat.methods.record import Division

_COMMON = ("scale_rewards", "multi_objective_aggregation", "normalize_advantages", "reward_clip_range")
_DIVISIONS: dict[Any, Division] = {"group": "group", "none": "none"}


def advantages_given(args: Any, where: str = "TRL's ") -> dict[str, tuple[Any, Division | None]]:
    """The settings of advantages that are neither TRL's defaults nor off; see `core.host.check_ignored`.

    `beta` is one of them for RLOO alone, whose KL penalty is inside the reward; GRPO's is in the loss.
    """
    plain = {field.name: field.default for field in dataclasses.fields(args)}
    names = (*_COMMON, "beta") if isinstance(args, RLOOConfig) else _COMMON
    own = {name: getattr(args, name) for name in names if name in plain and getattr(args, name) != plain[name]}
    return {
        f"{where}{name}": (value, _DIVISIONS.get(value) if name == "scale_rewards" else None)
        for name, value in own.items()
        if value
    }
