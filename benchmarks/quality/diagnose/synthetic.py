"""Runs with a known fault, or none, drawn from a seed: rows as TRL's trainer writes them, with a controller's where there is one.

Each kind draws its own numbers (lengths of run, levels, speeds, noise) from wide ranges. The label is the code that a good
diagnosis gives; `also` are codes that are right beside it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Draw = np.random.Generator
Columns = dict[str, np.ndarray]
HEALTHY = ""


@dataclass(frozen=True)
class Case:
    """A labeled run. `label` is a code, or `HEALTHY`; `also`: further codes that are right; `rows`: of the log."""

    kind: str
    seed: int
    label: str
    also: frozenset[str]
    rows: list[dict[str, Any]]

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.seed}"


KINDS: dict[str, tuple[str, str, Callable[[Draw], Columns]]] = {}


def kind(label: str, also: str = "") -> Callable[[Callable[[Draw], Columns]], Callable[[Draw], Columns]]:
    def add(build: Callable[[Draw], Columns]) -> Callable[[Draw], Columns]:
        KINDS[build.__name__] = (label, also, build)
        return build

    return add


def case(name: str, seed: int) -> Case:
    """The run of a kind and a seed; the same on every machine."""
    label, also, build = KINDS[name]
    columns = build(np.random.default_rng([zlib.crc32(name.encode()), seed]))
    steps = columns.pop("step", np.arange(1, 1 + max(map(len, columns.values()))))
    rows = []
    for i, step in enumerate(steps):
        row: dict[str, Any] = {"step": int(step)}
        row |= {key: float(values[i]) for key, values in columns.items()}
        rows.append(row)
    return Case(name, seed, label, frozenset(also.split()), rows)


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


@kind(HEALTHY)
def learns(draw: Draw) -> Columns:
    return base(draw)


@kind(HEALTHY)
def learns_to_low_entropy(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    t = np.arange(n) / n
    c["entropy"] = noisy(draw, 0.02 + draw.uniform(0.4, 1) * np.exp(-draw.uniform(8, 30) * t), 0.12)
    c["reward"] = np.clip(0.05 + 0.8 * (1 - np.exp(-draw.uniform(6, 20) * t)) + draw.normal(0, 0.05, n), 0, 1)
    return c


@kind(HEALTHY)
def bonus_at_work(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["entropy"] = noisy(draw, c["entropy"][0] * (1 + draw.uniform(0.5, 3) * np.arange(n) / n), 0.05)
    return c


@kind(HEALTHY)
def longer_and_better(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["completions/mean_length"] = noisy(
        draw, draw.uniform(100, 400) * (1 + draw.uniform(1.5, 6) * np.arange(n) / n), 0.06
    )
    return c


@kind(HEALTHY)
def shorter_and_better(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["completions/mean_length"] = noisy(
        draw, 20 + draw.uniform(300, 900) * np.exp(-draw.uniform(3, 20) * np.arange(n) / n), 0.06
    )
    return c


@kind(HEALTHY)
def solves_all(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    up = from_on(n, n // 10, n / draw.uniform(6, 15))
    c["reward"] = np.clip(0.3 + 0.67 * up + draw.normal(0, 0.01, n), 0, 1)
    c["frac_reward_zero_std"] = np.clip(0.2 + 0.7 * up + draw.normal(0, 0.05, n), 0, 1)
    c["grad_norm"] = c["grad_norm"] * (1 - 0.95 * up) * (draw.random(n) > 0.3 * up)
    c["entropy"] = noisy(draw, c["entropy"][0] * (1 - 0.9 * up), 0.1)
    return c


@kind(HEALTHY)
def hard_task(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["reward"] = np.clip(0.1 + draw.uniform(0.02, 0.1) * np.arange(n) / n + draw.normal(0, 0.03, n), 0, 1)
    return c


@kind(HEALTHY)
def penalties(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["reward"] = -2 + draw.uniform(1, 3) * (1 - np.exp(-3 * np.arange(n) / n)) + draw.normal(0, 0.15, n)
    return c


@kind(HEALTHY)
def held_at_target(draw: Draw) -> Columns:
    return controlled(draw)


@kind(HEALTHY)
def follows_a_wave(draw: Draw) -> Columns:
    c = controlled(draw, int(draw.integers(150, 500)))
    n = len(c["reward"])
    wave = 0.15 * np.sin(2 * np.pi * np.arange(n) / draw.uniform(40, 100))
    c["entropy_control/target"] = c["entropy_control/target"] * (1 + wave)
    c["entropy_control/measured"] = noisy(draw, c["entropy_control/target"], 0.02)
    c["entropy"] = c["entropy_control/measured"]
    c["token_entropy/surprisal"] = noisy(draw, c["entropy"], 0.03)
    return c


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


@kind("E101", "E301 E302 E303 E104")
def collapses(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    down = from_on(n, int(draw.uniform(0.05, 0.5) * n), n * draw.uniform(0.01, 0.08))
    c["entropy"] = noisy(draw, c["entropy"] * (1 - down) + draw.uniform(0.003, 0.05) * c["entropy"][0], 0.1)
    stuck = draw.random() < 0.5
    c["frac_reward_zero_std"] = np.clip(0.2 + 0.75 * down + draw.normal(0, 0.04, n), 0, 1)
    level = 0.3 if stuck else 0.3 * (1 - draw.uniform(0.5, 0.95) * down)
    c["reward"] = np.clip(level + draw.normal(0, 0.02, n), 0, 1)
    c["grad_norm"] = c["grad_norm"] * (draw.random(n) > 0.8 * down)
    return c


@kind("E102", "E103 E302 E304 E305 E401")
def explodes(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    up = from_on(n, int(draw.uniform(0.1, 0.7) * n), n * draw.uniform(0.02, 0.1))
    c["entropy"] = noisy(draw, c["entropy"] + draw.uniform(2, 6) * up, 0.08)
    c["reward"] = np.clip(c["reward"] * (1 - draw.uniform(0.7, 1) * up), 0, 1)
    c["completions/mean_length"] = c["completions/mean_length"] * (1 + draw.uniform(-0.5, 2) * up)
    return c


@kind("E103", "E102")
def drifts_up_and_loses(draw: Draw) -> Columns:
    c = base(draw, int(draw.integers(150, 600)))
    n = len(c["reward"])
    late = np.maximum(np.arange(n) / n - 0.5, 0) * 2
    c["entropy"] = noisy(draw, c["entropy"] * (1 + draw.uniform(0.6, 1.2) * late), 0.02)
    c["reward"] = np.clip(c["reward"] * (1 - draw.uniform(0.3, 0.45) * late), 0, 1)
    return c


@kind("E104")
def spends_it_all(draw: Draw) -> Columns:
    c = base(draw, int(draw.integers(150, 600)))
    n = len(c["reward"])
    entropy = draw.uniform(0.5, 1.2) * np.exp(-draw.uniform(5, 10) * np.arange(n) / n)
    c["entropy"] = noisy(draw, entropy + 0.005, 0.05)
    a = draw.uniform(0.25, 0.4)
    c["reward"] = np.clip(0.9 - a * (np.exp(entropy) - 1) + draw.normal(0, 0.02, n), 0, 1)
    return c


@kind("E105")
def swings(draw: Draw) -> Columns:
    c = controlled(draw, int(draw.integers(150, 600)))
    n = len(c["reward"])
    period, size = draw.uniform(8, n / 8), draw.uniform(0.15, 0.4)
    wave = size * np.sin(2 * np.pi * np.arange(n) / period + draw.uniform(0, 6)) * (1 + slow(draw, n, 0.15))
    c["entropy_control/measured"] = c["entropy_control/measured"] * (1 + wave)
    c["entropy"] = c["entropy_control/measured"]
    c["token_entropy/surprisal"] = c["entropy"] + draw.normal(0, 0.01, n)
    return c


@kind("E201", "E204 E203")
def at_its_limit(draw: Draw) -> Columns:
    c = controlled(draw)
    n = len(c["reward"])
    at = np.arange(n) > draw.uniform(0.1, 0.4) * n
    c["entropy_control/output"] = np.where(at, 2.0, c["entropy_control/output"])
    c["entropy_control/saturated"] = (at & (draw.random(n) > 0.1)).astype(float)
    gap = draw.uniform(0.1, 0.6) * c["entropy_control/target"]
    c["entropy_control/measured"] = c["entropy_control/measured"] + gap * from_on(n, int(0.2 * n), 10)
    c["entropy"] = c["entropy_control/measured"]
    c["token_entropy/surprisal"] = c["entropy"]
    return c


@kind("E202", "E105 E201")
def winds_up(draw: Draw) -> Columns:
    c = controlled(draw, int(draw.integers(150, 500)))
    n = len(c["reward"])
    target = c["entropy_control/target"][0]
    a, b = int(0.05 * n), int(draw.uniform(0.2, 0.35) * n)
    back = min(b + int(draw.uniform(0.5, 1) * (b - a)), n - 10)
    error = np.zeros(n)
    error[:b] = np.linspace(0.8, 0.05, b) * target
    error[b:back] = -0.3 * target
    c["entropy_control/measured"] = target + error + draw.normal(0, 0.01 * target, n)
    c["entropy"] = c["entropy_control/measured"]
    c["token_entropy/surprisal"] = c["entropy"]
    out = draw.normal(0.2, 0.1, n)
    out[a:back] = 2.0
    c["entropy_control/output"] = out
    c["entropy_control/saturated"] = (out == 2.0).astype(float)
    c["entropy_control/integral"] = np.cumsum(error)
    return c


@kind("E203", "E204 E201")
def has_no_authority(draw: Draw) -> Columns:
    c = controlled(draw)
    n = len(c["reward"])
    drift = -np.abs(draw.normal(0.004, 0.001, n))
    width = draw.uniform(0.02, 0.3) * np.abs(drift)
    c["entropy_control/authority_low"], c["entropy_control/authority_high"] = drift - width / 2, drift + width / 2
    c["entropy_control/predicted"] = drift
    c["entropy_control/measured"] = noisy(draw, c["entropy_control/target"] * (1.2 - 0.8 * np.arange(n) / n), 0.02)
    c["entropy"] = c["entropy_control/measured"]
    c["token_entropy/surprisal"] = c["entropy"]
    return c


@kind("E204", "E201 E203")
def never_gets_there(draw: Draw) -> Columns:
    c = controlled(draw)
    c["entropy_control/measured"] = (
        c["entropy_control/measured"] + draw.choice([-0.5, 0.5]) * c["entropy_control/target"]
    )
    c["entropy"] = c["entropy_control/measured"]
    c["token_entropy/surprisal"] = c["entropy"]
    return c


@kind("E301", "E302")
def has_no_signal(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["reward"] = np.where(draw.random(n) < 0.15, draw.uniform(0.03, 0.1), 0.0)
    c["frac_reward_zero_std"] = np.clip(draw.uniform(0.85, 0.98) + draw.normal(0, 0.05, n), 0, 1)
    c["grad_norm"] = c["grad_norm"] * 0.02
    c["entropy"] = noisy(draw, np.full(n, c["entropy"][0]), 0.05)
    return c


@kind("E302", "E101 E102 E103 E301 E303 E401")
def dies(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    at = int(draw.uniform(0.3, 0.8) * n)
    for key in ("reward", "grad_norm", "loss"):
        c[key][at:] = 0.0
    c["frac_reward_zero_std"][at:] = 1.0
    c["entropy"][at:] = c["entropy"][at:] * draw.uniform(0.5, 1.2)
    return c


@kind("E303", "E101 E302 E301")
def shrinks(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    down = from_on(n, int(draw.uniform(0.05, 0.6) * n), n * draw.uniform(0.01, 0.05))
    c["completions/mean_length"] = c["completions/mean_length"] * (1 - down) + draw.uniform(2, 6)
    c["reward"] = np.clip(0.35 * (1 - draw.uniform(0.6, 1) * down) + draw.normal(0, 0.02, n), 0, 1)
    return c


@kind("E304", "E101 E102 E103")
def rambles(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    up = from_on(n, int(draw.uniform(0.2, 0.6) * n), n * draw.uniform(0.03, 0.1))
    c["completions/mean_length"] = noisy(draw, draw.uniform(100, 200) * (1 + draw.uniform(3, 8) * up), 0.04)
    c["completions/clipped_ratio"] = np.clip(0.05 + draw.uniform(0.65, 0.9) * up + draw.normal(0, 0.03, n), 0, 1)
    c["reward"] = np.clip(c["reward"] * (1 - draw.uniform(0.3, 0.6) * up), 0, 1)
    return c


@kind("E305", "E302")
def spikes(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["grad_norm"][int(draw.integers(n // 5, n))] = draw.uniform(300, 1e5) * max(1.0, float(np.median(c["grad_norm"])))
    return c


@kind("E401")
def two_prompts_a_batch(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["entropy"] = noisy(draw, np.full(n, draw.uniform(0.1, 0.8)), draw.uniform(0.3, 0.6))
    c["reward"] = np.clip(c["reward"] + draw.normal(0, 0.1, n), 0, 1)
    return c


@kind("E402")
def samples_elsewhere(draw: Draw) -> Columns:
    c = controlled(draw)
    c["token_entropy/surprisal"] = c["token_entropy/surprisal"] * draw.choice([0.8, 1.25])
    return c


@kind("E403")
def changes_units(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["entropy"] = noisy(draw, np.linspace(1, draw.uniform(0.7, 1), n) * draw.uniform(0.3, 0.8), 0.03)
    at = int(draw.uniform(0.2, 0.8) * n)
    c["entropy"][at:] *= draw.choice([1.4427, 1 / 1.4427, 2.5, 100.0, 0.01])
    return c


@kind("E404")
def is_resumed(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    at = int(draw.uniform(0.3, 0.8) * n)
    back = int(draw.integers(2, 15))
    c["step"] = np.concatenate([np.arange(1, at + 1), np.arange(at + 1 - back, n + 1 - back)])
    return c


@kind("E405")
def logs_no_entropy(draw: Draw) -> Columns:
    c = base(draw)
    del c["entropy"]
    return c


@kind("E406", "E305")
def turns_nan(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    at = int(draw.uniform(0.5, 0.9) * n)
    c["loss"][at:] = np.nan
    c["grad_norm"][at:] = np.nan
    return c


def cases(seeds: range) -> list[Case]:
    """Every kind with every seed."""
    return [case(name, seed) for name in KINDS for seed in seeds]
