"""The closed loop of a P or PI controller on the entropy: where it is stable, how fast it settles, what error is left.

The entropy seen from one optimizer step to the next is taken as an integrator with drift d and gain g > 0:

    H[t+1] = H[t] + d - g u[t],    u[t] = kp e[s] + ki I[s],    e = H - target,    s = t - delay

I is the sum of errors, with the present one (`integral_read="after"`) or without it ("before"). With delay 0 the step
that measured e[t] is itself corrected by it; with delay 1 the correction first reaches the next step.

"before" is not a second case: kp e + ki (I - e) = (kp - ki) e + ki I, so it is "after" with kp - ki in the place of kp.
All formulas below are written for "after", in a = g (kp or kp - ki) and b = g ki. `docs/theory.md` derives them.

Source: the loop is that of EntroPIC, 2511.15248; the criterion is Jury's (Jury, 1964).
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from typing import Literal

from entrostat.errors import ConfigError

IntegralRead = Literal["after", "before"]


@dataclass(frozen=True)
class Loop:
    """One controller on one plant, linear: limits and anti-windup are not seen here.

    Args:
        kp, ki: gains of the controller [output per nat, output per nat and step]; ki = 0 is a P controller.
        gain: g, how many nats one unit of output lowers the mean entropy by in one step.
        integral_read: as in `control.PI`.
        delay: steps between a measurement and the first step that it corrects, 0 or 1.

    Raises:
        ConfigError: a gain that is negative or not finite, a plant gain that is not above zero, another delay.
    """

    kp: float
    ki: float = 0.0
    gain: float = 1.0
    integral_read: IntegralRead = "after"
    delay: int = 0

    def __post_init__(self) -> None:
        for name in ("kp", "ki"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(f"{name} must be a finite gain, zero or more, got {getattr(self, name)!r}")
        _check_plant(self.gain, self.integral_read, self.delay)

    @property
    def _ab(self) -> tuple[float, float]:
        """a and b of the equivalent loop that reads its integral after."""
        proportional = self.kp - self.ki if self.integral_read == "before" else self.kp
        return self.gain * proportional, self.gain * self.ki

    @property
    def polynomial(self) -> tuple[float, ...]:
        """Coefficients of the characteristic polynomial, highest power first; its roots are the poles of the loop.

        delay 0:  P  z - 1 + a            PI  z^2 + (a + b - 2) z + (1 - a)
        delay 1:  P  z^2 - z + a          PI  z^3 - 2 z^2 + (1 + a + b) z - a
        """
        a, b = self._ab
        if self.delay == 0:
            return (1.0, a + b - 2.0, 1.0 - a) if self.ki else (1.0, a - 1.0)
        return (1.0, -2.0, 1.0 + a + b, -a) if self.ki else (1.0, -1.0, a)

    @property
    def poles(self) -> tuple[complex, ...]:
        """Roots of the characteristic polynomial. A double root is exact to about 1e-8, a triple one to 1e-5."""
        return _roots(self.polynomial)

    @property
    def spectral_radius(self) -> float:
        """Largest modulus of a pole: in the long run the error shrinks by this factor each step."""
        return max(abs(pole) for pole in self.poles)

    @property
    def is_stable(self) -> bool:
        """Whether every error dies out: all poles strictly inside the unit circle, by the closed form.

        delay 0:  P  0 < a < 2    PI  0 < a and 0 < b < 4 - 2a
        delay 1:  P  0 < a < 1    PI  0 < a < 1 and 0 < b < a (1 - a)
        """
        a, b = self._ab
        if a <= 0:
            return False
        if not self.ki:
            return a < (2 if self.delay == 0 else 1)
        return b < 4 - 2 * a if self.delay == 0 else b < a * (1 - a)

    @property
    def gain_margin(self) -> float:
        """Factor by which the plant's gain may exceed `gain` before the loop is unstable; below 1 it is so already.

        A smaller gain is always safe where this is above 0. 0 where no gain is stable: with delay 1 that is b >= a,
        with either delay a <= 0.
        """
        a, b = self._ab
        if a <= 0:
            return 0.0
        if self.delay == 0:
            return 4 / (2 * a + b) if self.ki else 2 / a
        return max(0.0, (a - b) / a**2)

    def steady_state_error(self, drift: float) -> float:
        """Measured minus target once a stable loop has settled under a constant drift [nats].

        d / (g kp) with P alone, 0 with an integral. NaN for an unstable loop, which never settles.
        """
        if not self.is_stable:
            return math.nan
        return 0.0 if self.ki else drift / (self.gain * self.kp)


def ki_range(g_kp: float, integral_read: IntegralRead = "after", delay: int = 0) -> tuple[float, float]:
    """The open interval of g*ki in which a PI loop with this g*kp is stable; (0, 0) where there is none.

    | read | delay | stable for |
    | --- | --- | --- |
    | after | 0 | 0 < g kp < 2, 0 < g ki < 4 - 2 g kp |
    | before | 0 | 0 < g kp < 4, max(0, 2 g kp - 4) < g ki < g kp |
    | after | 1 | 0 < g kp < 1, 0 < g ki < g kp (1 - g kp) |
    | before | 1 | 0 < g kp < 1, 0 < g ki < sqrt(1 - g kp) - (1 - g kp) |

    Raises:
        ConfigError: a gain that is not finite or below zero, another delay or reading.
    """
    if not (math.isfinite(g_kp) and g_kp >= 0):
        raise ConfigError(f"g_kp must be a finite gain, zero or more, got {g_kp!r}")
    _check_plant(1.0, integral_read, delay)
    low = 0.0
    if delay == 0 and integral_read == "after":
        high = 4 - 2 * g_kp
    elif delay == 0:
        low, high = max(0.0, 2 * g_kp - 4), g_kp
    elif integral_read == "after":
        high = g_kp * (1 - g_kp)
    else:
        high = math.sqrt(1 - g_kp) - (1 - g_kp) if g_kp < 1 else 0.0
    # Without a proportional part the loop oscillates for ever at best.
    return (low, high) if g_kp > 0 and high > low else (0.0, 0.0)


def place_poles(tau: float, gain: float = 1.0, integral_read: IntegralRead = "after", delay: int = 0) -> Loop:
    """The PI loop with a double pole at rho = exp(-1 / tau), the slowest it has.

    | delay | g kp, "after" | g kp, "before" | g ki, both | third pole |
    | --- | --- | --- | --- | --- |
    | 0 | 1 - rho^2 | 2 (1 - rho) | (1 - rho)^2 | |
    | 1 | 2 rho^2 (1 - rho) | (1 - rho) (3 rho - 1) | (1 - rho)^2 (2 rho - 1) | 2 (1 - rho) |

    Args:
        tau: time constant [optimizer steps]. Without delay an initial error first crosses zero after about tau steps and
            stays within 5 % of itself after about 4 tau, within 2 % after about 5.5 tau.
        gain: g of the plant; see `Loop`.

    Raises:
        ConfigError: tau that is not above zero, or with delay 1 below 1 / log(1.5), about 2.47 steps: the three poles
            then add up to 2, so that no gains bring the slowest below 2/3.
    """
    if not (math.isfinite(tau) and tau > 0):
        raise ConfigError(f"tau must be a finite number of steps above zero, got {tau!r}")
    _check_plant(gain, integral_read, delay)
    rho = math.exp(-1 / tau)
    if delay == 0:
        a, b = 1 - rho**2, (1 - rho) ** 2
    else:
        if rho < 2 / 3:
            raise ConfigError(f"tau must be at least {1 / math.log(1.5):.3f} steps where the delay is one, got {tau!r}")
        a, b = 2 * rho**2 * (1 - rho), (1 - rho) ** 2 * (2 * rho - 1)
    g_kp = a + b if integral_read == "before" else a
    return Loop(g_kp / gain, b / gain, gain, integral_read, delay)


def holding_output(drift: float, gain: float) -> float:
    """d / g: the output that a loop settles on to cancel a constant drift.

    Where it lies outside the controller's limits the target cannot be held, whatever the gains.
    """
    _check_plant(gain, "after", 0)
    return drift / gain


def _check_plant(gain: float, integral_read: str, delay: int) -> None:
    if not (math.isfinite(gain) and gain > 0):
        raise ConfigError(f"gain must be a finite number above zero, got {gain!r}: its sign belongs to the actuator")
    if integral_read not in ("after", "before"):
        raise ConfigError(f"integral_read must be 'after' or 'before', got {integral_read!r}")
    if delay not in (0, 1):
        raise ConfigError(f"delay must be 0 or 1 steps, got {delay!r}")


def _roots(polynomial: tuple[float, ...]) -> tuple[complex, ...]:
    """Roots of a monic real polynomial of degree 1 to 3."""
    _, *c = polynomial
    if len(c) == 1:
        return (complex(-c[0]),)
    if len(c) == 2:
        half = cmath.sqrt(c[0] ** 2 / 4 - c[1])
        return (-c[0] / 2 + half, -c[0] / 2 - half)
    # A real cubic has a real root within Cauchy's bound: bisect for it and divide it out.
    high = 1 + max(abs(value) for value in c)
    low = -high
    for _ in range(200):
        middle = (low + high) / 2
        if ((middle + c[0]) * middle + c[1]) * middle + c[2] < 0:
            low = middle
        else:
            high = middle
    return (complex(high), *_roots((1.0, c[0] + high, (c[0] + high) * high + c[1])))
