"""The closed loop of a P or PI controller on the entropy: where it is stable, how fast it settles, what error is left.

The entropy seen from one optimizer step to the next is taken as an integrator with drift d and gain g > 0, which an
optimizer with momentum beta reaches through a lag:

    v[t+1] = beta v[t] + (1 - beta) (d - g u[t]),    H[t+1] = H[t] + v[t+1]
    u[t] = kp e[s] + ki I[s],    e = H - target,    s = t - delay

I is the sum of errors, with the present one (`integral_read="after"`) or without it ("before"). With delay 0 the step
that measured e[t] is itself corrected by it; with delay 1 the correction first reaches the next step. beta = 0 is the
plain integrator H[t+1] = H[t] + d - g u[t].

"before" is not a second case: kp e + ki (I - e) = (kp - ki) e + ki I, so it is "after" with kp - ki in the place of kp.
All formulas below are written for "after", in a = g (kp or kp - ki), b = g ki and m = 1 - beta. `docs/theory.md` derives
them.

Source: the loop is that of EntroPIC, 2511.15248; the criterion is Jury's (Jury, 1964).
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from typing import Literal

from entrostat.control.numbers import number
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
        momentum: beta of the optimizer, in [0, 1); beta1 of Adam and AdamW.

    Raises:
        ConfigError: a gain that is negative or not finite, a plant gain that is not above zero, another delay, a momentum
            outside its range.
    """

    kp: float
    ki: float = 0.0
    gain: float = 1.0
    integral_read: IntegralRead = "after"
    delay: int = 0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        for name in ("kp", "ki"):
            object.__setattr__(self, name, number(name, getattr(self, name), "a finite gain, zero or more", 0))
        _check_plant(self.gain, self.integral_read, self.delay, self.momentum)

    @property
    def _ab(self) -> tuple[float, float]:
        """a and b of the equivalent loop that reads its integral after."""
        proportional = self.kp - self.ki if self.integral_read == "before" else self.kp
        return self.gain * proportional, self.gain * self.ki

    @property
    def polynomial(self) -> tuple[float, ...]:
        """Coefficients of the characteristic polynomial, highest power first; its roots are the poles of the loop.

        delay 0:  P  z^2 - (1 + beta - m a) z + beta    PI  z^3 + (m (a + b) - 2 - beta) z^2 + (1 + 2 beta - m a) z - beta
        delay 1:  P  z^2 - (1 + beta) z + beta + m a    PI  z^3 - (2 + beta) z^2 + (1 + 2 beta + m (a + b)) z - beta - m a

        Without delay and momentum one root is 0, and left out.
        """
        (a, b), beta = self._ab, self.momentum
        m = 1 - beta
        if self.delay == 0:
            full = (
                (1.0, m * (a + b) - 2 - beta, 1 + 2 * beta - m * a, -beta) if self.ki else (1.0, m * a - 1 - beta, beta)
            )
            return full if beta else full[:-1]
        return (
            (1.0, -2 - beta, 1 + 2 * beta + m * (a + b), -beta - m * a) if self.ki else (1.0, -1 - beta, beta + m * a)
        )

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

        delay 0:  0 < a,  m (2a + b) < 4 (1 + beta),  and with an integral  0 < b,  beta b < m a
        delay 1:  0 < a < 1,  and with an integral  0 < b < m a (1 - a)
        """
        (a, b), beta = self._ab, self.momentum
        m = 1 - beta
        if a <= 0:
            return False
        if self.delay == 0:
            return m * (2 * a + b) < 4 * (1 + beta) and (not self.ki or beta * b < m * a)
        return a < 1 and (not self.ki or b < m * a * (1 - a))

    @property
    def gain_margin(self) -> float:
        """Factor by which the plant's gain may exceed `gain` before the loop is unstable; below 1 it is so already.

        A smaller gain is always safe where this is above 0. 0 where no gain is stable: a <= 0, or an integral too strong
        for the lag of the momentum, m a <= beta b without delay and m a <= b with it.
        """
        (a, b), beta = self._ab, self.momentum
        m = 1 - beta
        if a <= 0 or (self.delay == 0 and self.ki and beta * b >= m * a):
            return 0.0
        return 4 * (1 + beta) / (m * (2 * a + b)) if self.delay == 0 else max(0.0, (m * a - b) / (m * a**2))

    def steady_state_error(self, drift: float) -> float:
        """Measured minus target once a stable loop has settled under a constant drift [nats].

        d / (g kp) with P alone, 0 with an integral. NaN for an unstable loop, which never settles.
        """
        if not self.is_stable:
            return math.nan
        return 0.0 if self.ki else drift / (self.gain * self.kp)


def ki_range(
    g_kp: float, integral_read: IntegralRead = "after", delay: int = 0, momentum: float = 0.0
) -> tuple[float, float]:
    """The open interval of g*ki in which a PI loop with this g*kp is stable; (0, 0) where there is none.

    With x = g kp and m = 1 - beta:

    | read | delay | stable for |
    | --- | --- | --- |
    | after | 0 | 0 < x, 0 < g ki < min(4 (1 + beta) / m - 2x, m x / beta) |
    | before | 0 | 0 < x, max(0, 2x - 4 (1 + beta) / m) < g ki < m x |
    | after | 1 | 0 < x < 1, 0 < g ki < m x (1 - x) |
    | before | 1 | 0 < x < 1, 0 < g ki < x - (1 + m - sqrt((1 + m)^2 - 4 m x)) / (2 m) |

    Raises:
        ConfigError: a gain that is not finite or below zero, another delay or reading, a momentum outside [0, 1).
    """
    if not (math.isfinite(g_kp) and g_kp >= 0):
        raise ConfigError(f"g_kp must be a finite gain, zero or more, got {g_kp!r}")
    _check_plant(1.0, integral_read, delay, momentum)
    low, m = 0.0, 1 - momentum
    widest = 4 * (1 + momentum) / m
    if delay == 0 and integral_read == "after":
        high = min(widest - 2 * g_kp, m * g_kp / momentum if momentum else math.inf)
    elif delay == 0:
        low, high = max(0.0, 2 * g_kp - widest), m * g_kp
    elif integral_read == "after":
        high = m * g_kp * (1 - g_kp)
    else:
        high = g_kp - (1 + m - math.sqrt((1 + m) ** 2 - 4 * m * g_kp)) / (2 * m) if g_kp < 1 else 0.0
    # Without a proportional part the loop oscillates for ever at best.
    return (low, high) if g_kp > 0 and high > low else (0.0, 0.0)


def place_poles(
    tau: float,
    gain: float = 1.0,
    integral_read: IntegralRead = "after",
    delay: int = 0,
    momentum: float = 0.0,
    damping: float = 1.0,
) -> Loop:
    """The PI loop with a pair of poles of time constant tau, the slowest it has.

    With a damping of 1 the pair is a double pole at rho = exp(-1 / tau). Without momentum its gains are

    | delay | g kp, "after" | g kp, "before" | g ki, both | third pole |
    | --- | --- | --- | --- | --- |
    | 0 | 1 - rho^2 | 2 (1 - rho) | (1 - rho)^2 | |
    | 1 | 2 rho^2 (1 - rho) | (1 - rho) (3 rho - 1) | (1 - rho)^2 (2 rho - 1) | 2 (1 - rho) |

    Args:
        tau: time constant [optimizer steps]: errors shrink as exp(-t / tau). For gains from a settling time see
            `lab.settling`.
        gain, integral_read, delay, momentum: of the loop; see `Loop`.
        damping: of the pair, above 0 and at most 1. 1: no swing beyond the overshoot that the integral makes; 0.7: a change
            of the target and one of the drift settle equally fast.

    Raises:
        ConfigError: tau that is not above zero, or so short that the third pole would be slower than the pair. With delay 1
            the three poles add up to 2 + beta, so none can do better than (2 + beta) / 3 a step; without delay their
            product is beta.
    """
    if not (math.isfinite(tau) and tau > 0):
        raise ConfigError(f"tau must be a finite number of steps above zero, got {tau!r}")
    if not 0 < damping <= 1:
        raise ConfigError(f"damping must be above 0 and at most 1, got {damping!r}")
    _check_plant(gain, integral_read, delay, momentum)
    pole = cmath.exp(complex(-1, math.sqrt(1 - damping**2) / damping) / tau)
    total, product, m = 2 * pole.real, abs(pole) ** 2, 1 - momentum
    third = momentum / product if delay == 0 else 2 + momentum - total
    # Poles of equal modulus are meant to be allowed, whatever rounding makes of them.
    if third > abs(pole) * (1 + 1e-9):
        raise ConfigError(
            f"tau must be at least {shortest_tau(delay, momentum, damping):.3f} steps where the delay is {delay}, the "
            f"momentum {momentum:g} and the damping {damping:g}, got {tau!r}"
        )
    b = (1 - total + product) * (1 - third) / m
    a = ((1 + 2 * momentum - product - total * third) if delay == 0 else (product * third - momentum)) / m
    g_kp = a + b if integral_read == "before" else a
    return Loop(g_kp / gain, b / gain, gain, integral_read, delay, momentum)


def shortest_tau(delay: int = 0, momentum: float = 0.0, damping: float = 1.0) -> float:
    """The shortest time constant that `place_poles` can give [optimizer steps]; 0 without delay and momentum.

    The third pole is then as slow as the pair: rho^3 = beta without delay; with it 2 rho cos(theta) + rho = 2 + beta,
    theta the angle of the pair.
    """
    if delay == 0:
        return -3 / math.log(momentum) if momentum else 0.0
    swing = math.sqrt(1 - damping**2) / damping

    def spare(tau: float) -> float:
        return math.exp(-1 / tau) * (1 + 2 * math.cos(swing / tau)) - 2 - momentum

    low = high = 1.0
    while spare(high) < 0:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spare(middle) < 0 else (low, middle)
    return high


def holding_output(drift: float, gain: float) -> float:
    """d / g: the output that a loop settles on to cancel a constant drift.

    Where it lies outside the controller's limits the target cannot be held, whatever the gains.
    """
    _check_plant(gain, "after", 0, 0.0)
    return drift / gain


def _check_plant(gain: float, integral_read: str, delay: int, momentum: float) -> None:
    if number("gain", gain) <= 0:
        raise ConfigError(f"gain must be a finite number above zero, got {gain!r}: its sign belongs to the actuator")
    if integral_read not in ("after", "before"):
        raise ConfigError(f"integral_read must be 'after' or 'before', got {integral_read!r}")
    if isinstance(delay, bool) or delay not in (0, 1):
        raise ConfigError(f"delay must be 0 or 1 steps, got {delay!r}")
    if not 0 <= number("momentum", momentum) < 1:
        raise ConfigError(f"momentum must be at least 0 and below 1, got {momentum!r}")


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
