"""How well a target was held, in numbers: settling time, overshoot, the error that is left, recovery after disturbances.

Plain sequences of floats, so that the same numbers are taken of a simulated loop and of a real run's log. Standard
library only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from entrostat.errors import DataError


@dataclass(frozen=True)
class Response:
    """A loop's response. Steps are optimizer steps, counted from the first value.

    Attributes:
        change: the first error, measured - target, of the smoothed series [nats]: what control has to remove.
        band: half-width of the band of the smoothed error that counts as settled [nats].
        settling: first step from which the smoothed error stays within the band until the first event, or the end; None
            where it never does, or only for the last tenth of those steps. With `inside` below 1, that share of the steps
            from then on has to lie within the band.
        overshoot: how far the smoothed error goes past zero to the other side, as a share of |change|; None where the
            change itself lies within the band.
        steady_error, rms_error: mean and root mean square of the error as measured, over the second half [nats].
        saturated: share of the steps whose output sat at a limit; None where that was not given.
        recoveries: for each event, the number of steps after it until the smoothed error stays within the band up to the
            next event, or the end; None where it does not.
    """

    change: float
    band: float
    settling: int | None
    overshoot: float | None
    steady_error: float
    rms_error: float
    saturated: float | None
    recoveries: tuple[int | None, ...] = ()


def response(
    measured: Sequence[float],
    target: float | Sequence[float],
    *,
    share: float = 0.05,
    least: float = 0.0,
    window: int = 1,
    inside: float = 1.0,
    saturated: Sequence[float] | None = None,
    events: Sequence[int] = (),
) -> Response:
    """The numbers of one loop.

    Args:
        measured: entropy at each optimizer step [nats per token].
        target: a number, or one for each step.
        share: half-width of the band, as a share of the first error.
        least: smallest half-width [nats]. A measurement with noise never stays within less than its noise, and a loop that
            starts at its target has no first error: give `noise_band(measured, window)`, or what is good enough.
        window: the error is smoothed by a centered mean over so many steps, fewer at the ends. 1: not at all.
        inside: share of the steps that has to lie within the band for it to count as settled. Noise with a wide tail, or a
            long run, leaves every band now and then: 0.95 passes over that.
        saturated: -1, 0 or 1 for each step, as controllers report it.
        events: steps at which something changed.

    Raises:
        DataError: no values, values that are not finite, sequences of different lengths, an event outside them.
    """
    targets = [float(target)] * len(measured) if isinstance(target, int | float) else list(target)
    _check(measured, targets, saturated, events, window, inside)
    errors = [value - wanted for value, wanted in zip(measured, targets, strict=True)]
    smooth = centered_mean(errors, window)
    change = smooth[0]
    band = max(share * abs(change), least)
    ends = [*sorted(events), len(errors)]
    past = max((-math.copysign(1.0, change) * error for error in smooth[: ends[0]]), default=0.0)
    half = errors[len(errors) // 2 :]
    return Response(
        change=change,
        band=band,
        settling=_settled(smooth, 0, ends[0], band, inside),
        overshoot=max(past, 0.0) / abs(change) if abs(change) > least else None,
        steady_error=math.fsum(half) / len(half),
        rms_error=math.sqrt(math.fsum(error * error for error in half) / len(half)),
        saturated=None if saturated is None else sum(1 for each in saturated if each) / len(saturated),
        recoveries=tuple(_settled(smooth, begin, end, band, inside) for begin, end in itertools.pairwise(ends)),
    )


def noise_band(measured: Sequence[float], window: int = 1, widths: float = 3.0) -> float:
    """`widths` standard deviations of what noise is left in a mean over `window` steps [nats].

    The noise is estimated from second differences over the second half, which a slow course of the entropy hardly
    touches; of white noise they have six times its variance. A loop that swings from step to step looks like noise too.
    """
    values = list(measured)[len(measured) // 2 :]
    bends = [a - 2 * b + c for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    if not bends:
        return 0.0
    return widths * math.sqrt(math.fsum(bend * bend for bend in bends) / len(bends) / 6 / window)


def centered_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean over `window` values around each, over fewer at the ends."""
    before, after = (window - 1) // 2, window // 2
    sums = [0.0, *itertools.accumulate(values)]
    spans = ((max(0, i - before), min(len(values), i + after + 1)) for i in range(len(values)))
    return [values[low] if high - low == 1 else (sums[high] - sums[low]) / (high - low) for low, high in spans]


def _settled(errors: Sequence[float], begin: int, end: int, band: float, inside: float) -> int | None:
    """The first step of this stretch that lies within the band, as `inside` of the steps from it to the end do."""
    settled, outside = None, 0
    for step in range(end - 1, begin - 1, -1):
        if abs(errors[step]) > band:
            outside += 1
        elif outside <= (1 - inside) * (end - step) and 10 * (end - step) > end - begin:
            settled = step - begin
    return settled


def _check(
    measured: Sequence[float],
    targets: Sequence[float],
    saturated: Sequence[float] | None,
    events: Sequence[int],
    window: int,
    inside: float,
) -> None:
    if not len(measured):
        raise DataError("a response needs at least one measured value, got none")
    for name, values in (("target", targets), ("saturated", saturated)):
        if values is not None and len(values) != len(measured):
            raise DataError(f"{name} must have one value for each of the {len(measured)} steps, got {len(values)}")
    for name, values in (("measured", measured), ("target", targets)):
        if bad := [step for step, value in enumerate(values or ()) if not math.isfinite(value)]:
            raise DataError(f"{name} is not finite at step {bad[0]}: leave out steps without a measurement")
    if outside := [event for event in events if not 0 < event < len(measured)]:
        raise DataError(f"event at step {outside[0]} lies outside the {len(measured)} steps")
    if window < 1:
        raise DataError(f"window must be at least 1 step, got {window!r}")
    if not 0 < inside <= 1:
        raise DataError(f"inside must be a share above 0 and at most 1, got {inside!r}")
