"""What a log says about the plant: gain, drift, momentum and noise with their errors, by maximum likelihood.

The plant is that of `lab.plant`. Its states vanish from

    y[t+1] - (1 + beta) y[t] + beta y[t-1] = (1 - beta) (d - g u[t] + w[t]) + n[t+1] - (1 + beta) n[t] + beta n[t-1]

which for a given beta is a linear regression on u with correlated noise. Plain least squares would be wrong in two ways:
differences of measurements have noise that cancels over time, and in a closed loop the outputs answer to that very noise.
Generalized least squares with the covariance of the right-hand side, a band of five diagonals, is right on both counts.
Momentum and the ratio of the two noises are not known either: every pair on a grid is weighed by its likelihood, and the
estimates are means over the grid, so that their errors contain what is uncertain about the pair (Bayesian model averaging
with a flat prior; Hoeting et al., 1999).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from entrostat.errors import ConfigError, DataError, NotInstalled
from entrostat.lab.plant import LinearPlant

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MOMENTA = tuple(round(0.05 * i, 2) for i in range(20))
# wander / noise of one step; the last stands for a measurement without noise.
RATIOS = (0.0, *(10 ** (i / 4) for i in range(-8, 7)), 100.0)
FEWEST = 12
"""Steps that an identification needs at least."""


@dataclass(frozen=True)
class Identified:
    """The plant behind a log. Each `..._error` is a standard error.

    Attributes:
        gain: nats that one unit of output takes from the entropy per step in the long run; negative where it raises it.
        drift: change of the entropy per step at output 0 [nats].
        momentum: of the optimizer, as the log shows it.
        noise, wander: standard deviations of the measurement noise and of what each step's drift differs by [nats].
        steps: number of measurements.
        start: the first measurement [nats].
    """

    gain: float
    gain_error: float
    drift: float
    drift_error: float
    momentum: float
    momentum_error: float
    noise: float
    wander: float
    steps: int
    start: float

    @property
    def gain_known(self) -> bool:
        """Whether the gain, and with it its sign, can be told from noise: it is more than two standard errors from zero."""
        return abs(self.gain) > 2 * self.gain_error

    @property
    def gain_range(self) -> tuple[float, float]:
        """The gain less and plus two standard errors."""
        return self.gain - 2 * self.gain_error, self.gain + 2 * self.gain_error

    def plant(self, delay: int = 1) -> LinearPlant:
        """The plant with the estimated numbers.

        Raises:
            DataError: the gain cannot be told from noise, or is not above zero.
        """
        if not (self.gain_known and self.gain > 0):
            raise DataError(f"there is no plant to simulate: {self.verdict}")
        return LinearPlant(
            gain=self.gain,
            drift=self.drift,
            momentum=self.momentum,
            delay=delay,
            start=self.start,
            noise=self.noise,
            wander=self.wander,
        )

    @property
    def verdict(self) -> str:
        """What can be said about the gain, in words."""
        if not math.isfinite(self.gain_error):
            return "the output never changed, so the log says nothing about the gain"
        found = f"the gain is {self.gain:.2g} +- {self.gain_error:.1g} nats per unit of output and step"
        if not self.gain_known:
            return f"{found}: neither it nor its sign can be told from noise"
        return found if self.gain > 0 else f"{found}: more output raises the entropy, the wrong sign"


def identify(entropy: Sequence[float], output: Sequence[float], momentum: float | None = None) -> Identified:
    """The plant behind a run.

    Args:
        entropy: measured mean entropy of every optimizer step, without gaps [nats per token].
        output: the output that acted on that step's update, between this measurement and the next. In a log whose
            output acts from the next step on (TRL) that is the output of the row before.
        momentum: of the optimizer where it is known; None to estimate it.

    Raises:
        DataError: too few steps, columns of different lengths, values that are not finite.
        ConfigError: a momentum outside [0, 1).
        NotInstalled: scipy is absent.
    """
    try:
        import numpy as np
    except ImportError as error:  # pragma: no cover
        raise NotInstalled("identification needs numpy and scipy: pip install 'entrostat[train]'") from error

    y, u = np.asarray(entropy, dtype=float), np.asarray(output, dtype=float)
    _check(y, u)
    if momentum is not None and not 0 <= momentum < 1:
        raise ConfigError(f"momentum must be at least 0 and below 1, got {momentum!r}")
    y_scale, u_scale = float(np.std(y)) or 1.0, float(np.abs(u).max()) or 1.0
    varies = float(np.ptp(u)) > 1e-9 * u_scale
    fits = [
        _fit(y / y_scale, u / u_scale if varies else None, beta, ratio)
        for beta in (MOMENTA if momentum is None else (momentum,))
        for ratio in RATIOS
    ]
    best = max(fit["likelihood"] for fit in fits)
    weights = np.array([math.exp(fit["likelihood"] - best) for fit in fits])
    weights /= weights.sum()

    def mean(name: str, scale: float = 1.0) -> tuple[float, float]:
        values = np.array([fit[name] for fit in fits])
        within = np.array([fit.get(f"{name}_variance", 0.0) for fit in fits])
        middle = float(weights @ values)
        return scale * middle, scale * math.sqrt(float(weights @ (within + (values - middle) ** 2)))

    gain, gain_error = mean("gain", y_scale / u_scale) if varies else (0.0, math.inf)
    drift, drift_error = mean("drift", y_scale)
    beta, beta_error = mean("momentum")
    # As variances, since it is those that add up.
    noise, wander = (y_scale * math.sqrt(mean(name)[0]) for name in ("noise_variance", "wander_variance"))
    return Identified(gain, gain_error, drift, drift_error, beta, beta_error, noise, wander, len(y), float(y[0]))


def _fit(y: Array, u: Array | None, beta: float, ratio: float) -> dict[str, float]:
    """Generalized least squares for one momentum and one ratio of wander to noise."""
    import numpy as np

    try:
        from scipy.linalg import LinAlgError, cholesky_banded, solve_banded
    except ImportError as error:
        raise NotInstalled("identification needs scipy: pip install 'entrostat[train]'") from error

    m = 1 - beta
    z = y[2:] - (1 + beta) * y[1:-1] + beta * y[:-2]
    columns = [np.full(len(z), m)] if u is None else [np.full(len(z), m), -m * u[1:-1]]
    # Covariance of the right-hand side over noise^2: moving average of n on three diagonals, w on the main one.
    bands = np.zeros((3, len(z)))
    bands[0] = 1 + (1 + beta) ** 2 + beta**2 + (m * ratio) ** 2
    bands[1] = -((1 + beta) ** 2)
    bands[2] = beta
    try:
        factor = cholesky_banded(bands, lower=True, check_finite=False)
    except LinAlgError:  # pragma: no cover - a covariance that rounding has spoilt
        return {"likelihood": -math.inf}
    white = solve_banded((2, 0), factor, np.column_stack([z, *columns]), check_finite=False)
    target, design = white[:, 0], white[:, 1:]
    normal = np.linalg.inv(design.T @ design)
    coefficients = normal @ (design.T @ target)
    residual = target - design @ coefficients
    count, squares = len(z), max(float(residual @ residual), 1e-300)
    variance = squares / (count - len(coefficients))
    fit = {
        "likelihood": -0.5 * count * math.log(squares) - float(np.log(factor[0]).sum()),
        "drift": float(coefficients[0]),
        "drift_variance": variance * float(normal[0, 0]),
        "momentum": beta,
        "noise_variance": variance,
        "wander_variance": variance * ratio**2,
    }
    if u is not None:
        fit |= {"gain": float(coefficients[1]), "gain_variance": variance * float(normal[1, 1])}
    return fit


def _check(y: Array, u: Array) -> None:
    import numpy as np

    if y.ndim != 1 or y.shape != u.shape:
        raise DataError(f"entropy and output must be two columns of one length, got shapes {y.shape} and {u.shape}")
    if len(y) < FEWEST:
        raise DataError(f"identification needs at least {FEWEST} steps, got {len(y)}")
    for name, values in (("entropy", y), ("output", u)):
        if not np.isfinite(values).all():
            raise DataError(f"{name} is not finite at row {int(np.argmin(np.isfinite(values)))}")
