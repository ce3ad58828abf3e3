"""Settling time, the one number that a user names, and the gains that give it.

The settling time of a loop is the number of optimizer steps after a change of its target until the error stays within 5 % of
that change, without noise and away from the limits. In terms of the time constant tau of its slowest pair of poles, for
tau of ten steps and more and without momentum:

| damping | target changes | drift changes | overshoot |
| --- | --- | --- | --- |
| 1 | 4.2 tau | 5.8 tau | 14 % |
| 0.7 | 3.1 tau | 2.9 tau | 22 % |

"drift changes" is the time until the error stays within 5 % of its peak. Delay and momentum add to all of them, so gains
are found from the exact response and not from such a factor.
"""

from __future__ import annotations

from dataclasses import dataclass

from entrostat.control.response import Response, response
from entrostat.errors import ConfigError
from entrostat.lab.stability import IntegralRead, Loop, place_poles, shortest_tau

DAMPING = 0.7
"""Of the gains for a settling time: changes of target and of drift then settle equally fast."""

_LONGEST = 200_000  # steps of a response, before it counts as never settled


@dataclass(frozen=True)
class Gains:
    """A loop and its settling time [optimizer steps]; `wanted` may be shorter than what the plant allows."""

    loop: Loop
    tau: float
    settling: int
    wanted: float

    @property
    def reached(self) -> bool:
        """Whether the loop settles as fast as was wanted."""
        return self.settling <= self.wanted


def gains_for(
    settling: float,
    gain: float = 1.0,
    *,
    integral_read: IntegralRead = "after",
    delay: int = 1,
    momentum: float = 0.0,
    damping: float = DAMPING,
) -> Gains:
    """The softest pole placement that settles within `settling` optimizer steps, or else the fastest there is.

    Args:
        settling: wanted settling time [optimizer steps].
        gain, integral_read, delay, momentum: of the loop; see `Loop`.
        damping: of the slowest pair of poles; see `place_poles`.

    Returns:
        The loop with the settling time that it has. Where delay and momentum forbid the wanted one, `reached` is False and
        the loop is the fastest of its damping: softer wishes are fulfilled, no gains fulfill this one.

    Raises:
        ConfigError: a settling time that is not above zero; what `place_poles` refuses.
    """
    if not 0 < settling < _LONGEST / 4:
        raise ConfigError(f"settling must be a number of optimizer steps above zero, got {settling!r}")

    def placed(tau: float) -> Gains:
        loop = place_poles(tau, 1.0, integral_read, delay, momentum, damping)
        scaled = Loop(loop.kp / gain, loop.ki / gain, gain, integral_read, delay, momentum)
        return Gains(scaled, tau, settling_time(loop), settling)

    low = max(shortest_tau(delay, momentum, damping) * (1 + 1e-9), 0.3)
    best = placed(low)
    high = max(settling, 2 * low)
    # The settling time steps up with tau, up to small jumps where a swing leaves the band: halve the gap to it.
    for _ in range(40):
        if not best.reached or high - low < 1e-3 * low:
            break
        middle = (low + high) / 2
        found = placed(middle)
        low, high, best = (middle, high, found) if found.reached else (low, middle, best)
    return best


def settling_time(loop: Loop, share: float = 0.05) -> int:
    """Steps until the error after a change of the target stays within a share of the change; see the module's docstring.

    Raises:
        ConfigError: an unstable loop, or one that needs more than 200,000 steps.
    """
    if not loop.is_stable:
        raise ConfigError(f"an unstable loop never settles: {loop}")
    found = target_response(loop, share).settling
    if found is None:
        raise ConfigError(f"the loop does not settle within {_LONGEST} steps: {loop}")
    return found


def target_response(loop: Loop, share: float = 0.05) -> Response:
    """The exact response of a stable loop to a change of its target by one nat, from rest."""
    steps = 64
    while True:
        found = response(errors(loop, steps), 0.0, share=share)
        # Only a course several times as long as it took to settle shows that it stays so.
        if (found.settling is not None and 4 * found.settling < steps) or steps > _LONGEST:
            return found
        steps *= 2


def errors(loop: Loop, steps: int, start: float = 1.0, drift: float = 0.0) -> list[float]:
    """Error at each step of the loop without noise and limits, from the error `start` with an empty integral [nats]."""
    m = 1 - loop.momentum
    error, velocity, integral, held = start, 0.0, 0.0, 0.0
    course = []
    for _ in range(steps):
        course.append(error)
        before, integral = integral, integral + error
        output = loop.kp * error + loop.ki * (integral if loop.integral_read == "after" else before)
        acting, held = (output, held) if loop.delay == 0 else (held, output)
        velocity = loop.momentum * velocity + m * (drift - loop.gain * acting)
        error += velocity
    return course
