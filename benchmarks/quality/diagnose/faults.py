"""Kinds of runs with a fault, each under the code that a good diagnosis gives."""

from __future__ import annotations

from functools import partial

import numpy as np
from columns import Columns, Draw, Kinds, base, controlled, from_on, measure, noisy, recorded, slow

KINDS: Kinds = {}
kind = partial(recorded, KINDS)


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
    measure(c, c["entropy_control/measured"] * (1 + wave))
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
    measure(c, c["entropy_control/measured"] + gap * from_on(n, int(0.2 * n), 10))
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
    measure(c, target + error + draw.normal(0, 0.01 * target, n))
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
    measure(c, noisy(draw, c["entropy_control/target"] * (1.2 - 0.8 * np.arange(n) / n), 0.02))
    return c


@kind("E204", "E201 E203")
def never_gets_there(draw: Draw) -> Columns:
    c = controlled(draw)
    measure(c, c["entropy_control/measured"] + draw.choice([-0.5, 0.5]) * c["entropy_control/target"])
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
