"""Columns of a log, drawn: a run that learns, one whose entropy is controlled, and what happens to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Draw = np.random.Generator
Columns = dict[str, np.ndarray]
Kinds = dict[str, tuple[str, str, Callable[[Draw], Columns]]]
"""By name: the label, further codes that are right, and what draws the columns."""


def recorded(
    kinds: Kinds, label: str, also: str = ""
) -> Callable[[Callable[[Draw], Columns]], Callable[[Draw], Columns]]:
    """A decorator that adds a kind by the name of its function."""

    def add(build: Callable[[Draw], Columns]) -> Callable[[Draw], Columns]:
        kinds[build.__name__] = (label, also, build)
        return build

    return add


def base(draw: Draw, n: int | None = None) -> Columns:
    """A run that learns: entropy falls with noise, reward saturates, length wanders, gradient is lognormal."""
    n = n or int(draw.integers(60, 600))
    t = np.arange(n) / n
    start = draw.uniform(0.2, 1.2)
    floor = draw.uniform(0.2, 0.7) * start
    entropy = floor + (start - floor) * np.exp(-draw.uniform(2, 8) * t)
    low, high = draw.uniform(0, 0.3), draw.uniform(0.45, 0.9)
    reward = low + (high - low) * (1 - np.exp(-draw.uniform(2, 8) * t))
    length = draw.uniform(50, 800) * (1 + draw.uniform(-0.2, 0.3) * t)
    gradient = draw.uniform(0.05, 2) * np.exp(draw.normal(0, draw.uniform(0.1, 0.5), n))
    return {
        "entropy": entropy * np.exp(slow(draw, n, 0.05) + draw.normal(0, draw.uniform(0.01, 0.08), n)),
        "reward": np.clip(reward + draw.normal(0, draw.uniform(0.01, 0.06), n), 0, 1),
        "completions/mean_length": length * np.exp(draw.normal(0, 0.05, n)),
        "grad_norm": gradient,
        "frac_reward_zero_std": np.clip(0.2 + 0.2 * t + draw.normal(0, 0.08, n), 0, 1),
        "loss": draw.normal(0, 0.02, n),
        "learning_rate": np.full(n, 1e-6),
    }


def slow(draw: Draw, n: int, size: float) -> np.ndarray:
    """A wander with a memory of a tenth of the run."""
    out, memory = np.zeros(n), 1 - 10 / n
    for i in range(1, n):
        out[i] = memory * out[i - 1] + draw.normal(0, size * np.sqrt(1 - memory**2))
    return out


def from_on(n: int, at: int, speed: float) -> np.ndarray:
    """0 up to a row, then a rise to 1 with that speed in rows."""
    return 1 - np.exp(-np.maximum(np.arange(n) - at, 0) / speed)


def noisy(draw: Draw, values: np.ndarray, size: float) -> np.ndarray:
    return values * np.exp(draw.normal(0, size, len(values)))


def measure(c: Columns, entropy: np.ndarray) -> None:
    """Let the controller, the trainer and the sampled tokens' surprisal say the same entropy."""
    for name in ("entropy_control/measured", "entropy", "token_entropy/surprisal"):
        c[name] = entropy


def controlled(draw: Draw, n: int | None = None) -> Columns:
    """A run whose entropy comes to a target and stays; the output within its limits."""
    c = base(draw, n)
    n = len(c["reward"])
    target, start = draw.uniform(0.15, 0.6), c["entropy"][0]
    measured = target + (start - target) * np.exp(-np.arange(n) / draw.uniform(5, n / 8))
    c["entropy_control/measured"] = measured + draw.normal(0, 0.02 * target, n)
    c["entropy"] = c["entropy_control/measured"]
    c["entropy_control/target"] = np.full(n, target)
    c["entropy_control/output"] = draw.uniform(-1, 1) * (1 - np.exp(-np.arange(n) / 20)) + draw.normal(0, 0.1, n)
    c["entropy_control/saturated"] = np.zeros(n)
    c["entropy_control/integral"] = np.cumsum(measured - target) * 0.01
    c["token_entropy/surprisal"] = c["entropy"] + draw.normal(0, 0.03 * target, n)
    c["token_entropy/D"] = draw.normal(0, 0.001, n)
    return c
