"""Which entropies the limits of an actuator can reach, and whether the target is among them."""

from __future__ import annotations

import math
from dataclasses import replace

from entrostat.control.effect import Actuator
from entrostat.control.self_tuning_state import SelfTuningState

AT_LIMIT = 12
"""Steps at a limit before the controller judges what that limit can reach."""
_PATIENCE = 4.0  # settling times; a target that takes longer at full output counts as out of reach


def judged(
    moved: SelfTuningState, before: SelfTuningState, actuator: Actuator, end: int, settling: float
) -> SelfTuningState:
    """`moved` with the range that the limits reach, and whether the target is in it.

    Args:
        before: the state one step earlier.
        end: -1 or 1 where the effort is at the lowest or the highest that there is, else 0.
        settling: the controller's settling time [optimizer steps].
    """
    # By the theory every output takes the entropy further away: the curve may be too flat to have one limit to go to.
    end = end or (actuator.high < 0 < moved.error) - (actuator.low > 0 > moved.error)
    ends = [moved.level + settling * (moved.drift - d * moved.gain) for d in (actuator.low, actuator.high)]
    reach_low, reach_high = sorted(max(level, 0.0) for level in ends)
    count = max(before.at_limit * end, 0) + 1 if end else 0
    y = moved.measured + (before.limit_y if count > 1 else 0.0) if count else 0.0
    ty = count * moved.measured + (before.limit_ty if count > 1 else 0.0) if count else 0.0
    # Once said, it is said until the entropy is at its target or seen to be on its way.
    there = abs(moved.error) < 2 * math.sqrt(moved.noise)
    reachable = int(before.reachable or there)
    if count >= AT_LIMIT:
        spread = count * (count**2 - 1) / 12
        slope = (ty - y * (count + 1) / 2) / spread
        toward = -math.copysign(slope, slope * moved.error)
        best = toward + 2 * math.sqrt(moved.noise / spread)
        reachable = int(best > abs(moved.error) / (_PATIENCE * settling))
    return replace(
        moved,
        reachable=reachable,
        reach_low=reach_low,
        reach_high=reach_high,
        at_limit=count * end,
        limit_y=y,
        limit_ty=ty,
    )
