"""Kinds of runs without a fault."""

from __future__ import annotations

from functools import partial

import numpy as np
from columns import Columns, Draw, Kinds, base, controlled, from_on, measure, noisy, recorded

KINDS: Kinds = {}
kind = partial(recorded, KINDS, "")


@kind()
def learns(draw: Draw) -> Columns:
    return base(draw)


@kind()
def learns_to_low_entropy(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    t = np.arange(n) / n
    c["entropy"] = noisy(draw, 0.02 + draw.uniform(0.4, 1) * np.exp(-draw.uniform(8, 30) * t), 0.12)
    c["reward"] = np.clip(0.05 + 0.8 * (1 - np.exp(-draw.uniform(6, 20) * t)) + draw.normal(0, 0.05, n), 0, 1)
    return c


@kind()
def bonus_at_work(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["entropy"] = noisy(draw, c["entropy"][0] * (1 + draw.uniform(0.5, 3) * np.arange(n) / n), 0.05)
    return c


@kind()
def longer_and_better(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["completions/mean_length"] = noisy(
        draw, draw.uniform(100, 400) * (1 + draw.uniform(1.5, 6) * np.arange(n) / n), 0.06
    )
    return c


@kind()
def shorter_and_better(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["completions/mean_length"] = noisy(
        draw, 20 + draw.uniform(300, 900) * np.exp(-draw.uniform(3, 20) * np.arange(n) / n), 0.06
    )
    return c


@kind()
def solves_all(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    up = from_on(n, n // 10, n / draw.uniform(6, 15))
    c["reward"] = np.clip(0.3 + 0.67 * up + draw.normal(0, 0.01, n), 0, 1)
    c["frac_reward_zero_std"] = np.clip(0.2 + 0.7 * up + draw.normal(0, 0.05, n), 0, 1)
    c["grad_norm"] = c["grad_norm"] * (1 - 0.95 * up) * (draw.random(n) > 0.3 * up)
    c["entropy"] = noisy(draw, c["entropy"][0] * (1 - 0.9 * up), 0.1)
    return c


@kind()
def hard_task(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["reward"] = np.clip(0.1 + draw.uniform(0.02, 0.1) * np.arange(n) / n + draw.normal(0, 0.03, n), 0, 1)
    return c


@kind()
def penalties(draw: Draw) -> Columns:
    c = base(draw)
    n = len(c["reward"])
    c["reward"] = -2 + draw.uniform(1, 3) * (1 - np.exp(-3 * np.arange(n) / n)) + draw.normal(0, 0.15, n)
    return c


@kind()
def held_at_target(draw: Draw) -> Columns:
    return controlled(draw)


@kind()
def follows_a_wave(draw: Draw) -> Columns:
    c = controlled(draw, int(draw.integers(150, 500)))
    n = len(c["reward"])
    wave = 0.15 * np.sin(2 * np.pi * np.arange(n) / draw.uniform(40, 100))
    c["entropy_control/target"] = c["entropy_control/target"] * (1 + wave)
    measure(c, noisy(draw, c["entropy_control/target"], 0.02))
    c["token_entropy/surprisal"] = noisy(draw, c["entropy"], 0.03)
    return c
