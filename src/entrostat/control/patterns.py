"""Published trajectories of the entropy, as targets that any controller follows.

Two of the sources steer with something else than a target: 2602.09782 switches clip ranges and 2604.26326 throws samples
away. Here the curve that they aim at is the target, and the method chosen by the user gets the policy there. Levels are
nats per token or fractions of the initial entropy (`Initial`); steps count optimizer steps.
"""

from __future__ import annotations

from typing import Literal

from entrostat.control.schedules import Cosine, Initial, Level, Linear, Oscillating, Piecewise
from entrostat.control.targets import Band
from entrostat.errors import ConfigError

START, NINE_TENTHS, FIFTH = Initial(), Initial(0.9), Initial(0.2)


def increase_then_decrease(steps: int, peak: Level, end: Level, start: Level = START, turn: float = 0.5) -> Piecewise:
    """Up to `peak` in the first part of the run, down to `end` in the rest (ID).

    Source: 2602.09782, strategy ID, which turns at half of the training steps, the best of the shares 0.3 to 0.6 that it
    compares. It names no levels, since it ramps clip ranges; they are the caller's.

    Args:
        steps: of the whole trajectory; afterwards `end` is kept.
        peak, end, start: levels.
        turn: where the peak lies, as a share of `steps`.
    """
    return Piecewise(((0, start), (_turning_point("turn", turn, steps), peak), (steps, end)))


def decrease_increase_decrease(
    steps: int,
    valley: Level,
    peak: Level,
    end: Level,
    start: Level = START,
    turns: tuple[float, float] = (0.25, 0.5),
) -> Piecewise:
    """Down to `valley`, up to `peak`, down to `end` (DID).

    Source: 2602.09782, strategy DID: the entropy is left to fall, brought back within the first half of the training steps
    and lowered in the second. Where it turns up and how far it goes follow there from the clip ranges; here they are
    given, the valley at a quarter of the steps by default.

    Args:
        steps: of the whole trajectory; afterwards `end` is kept.
        valley, peak, end, start: levels.
        turns: where valley and peak lie, as shares of `steps`.
    """
    if not isinstance(turns, list | tuple) or len(turns) != 2:
        raise ConfigError(f"turns must be two shares of steps, of the valley and of the peak, got {turns!r}")
    first, second = (_turning_point("turns", turn, steps) for turn in turns)
    return Piecewise(((0, start), (first, valley), (second, peak), (steps, end)))


def oscillating_decay(steps: int, descents: int, start: Level = START, end: Level = FIFTH) -> Oscillating:
    """Down to `end` and back up, each time less far, until only `end` is left (OD).

    Source: 2602.09782, strategy OD: the entropy swings between a lower threshold of 0.2 times the initial entropy and an
    upper one that falls in a straight line from the initial entropy to the lower threshold. There the policy turns
    whenever it meets a threshold; a trajectory has to say when, so `descents` is the caller's.
    """
    return Oscillating(start, end, steps, descents)


def hold_then_decay(steps: int, end: Level = NINE_TENTHS, start: Level = START, hold: float = 0.6) -> Piecewise:
    """Keep `start` for a share `hold` of the steps, then go down to `end`.

    Source: E3-RL4LLMs (2505.18573), the annealing of its released code: over the last 40 % of the steps the target falls
    to 0.9 times the initial one. There it falls along a cosine and temperature follows it; here along a straight line.
    """
    return Piecewise(((0, start), (_turning_point("hold", hold, steps), start), (steps, end)))


def entrocraft_band(
    steps: int,
    low: tuple[Level, Level] = (0.6, 0.4),
    high: tuple[Level, Level] = (0.7, 0.5),
    shape: Literal["linear", "cosine"] = "linear",
) -> Band:
    """A band whose two edges are annealed together; within it the entropy is left alone.

    Source: Entrocraft, 2604.26326, whose released code trains on positive samples alone above the band, on negative ones
    alone below it and on all of them inside. The defaults are its bounds for Qwen3-4B; 0.4 to 0.1 and 0.5 to 0.2 are those
    for 14B.

    Args:
        steps: over which the edges move; afterwards they stay.
        low, high: each edge's level at the start and at the end [nats per token].
        shape: along a straight line, which it found best, or half a cosine.
    """
    if shape not in ("linear", "cosine"):
        raise ConfigError(f"shape must be 'linear' or 'cosine', got {shape!r}")
    for name, pair in (("low", low), ("high", high)):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ConfigError(f"{name} must be a pair of levels, at the start and at the end, got {pair!r}")
    curve = Linear if shape == "linear" else Cosine
    return Band(curve(*low, steps), curve(*high, steps))


def _turning_point(name: str, share: float, steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 2:
        raise ConfigError(f"steps must be a whole number of optimizer steps, at least 2, got {steps!r}")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise ConfigError(f"{name} must be shares of steps between 0 and 1, got {share!r}")
    return min(max(round(share * steps), 1), steps - 1)
