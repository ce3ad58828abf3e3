"""The stability regions of docs/theory.md, checked by simulation on a fine grid: `python benchmarks/quality/stability.py`.

For every reading of the integral, delay and momentum a grid of gains is laid over the region and beyond it. At each point the
shipped `control.PI` runs on the plant, and whether its error grows is compared with the closed form. Where a pole lies
close to the unit circle, growth and decay take longer than any simulation; such points are counted as well, and the
record says how close to the circle the farthest disagreement lies.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from pathlib import Path

from entrostat.control import PI
from entrostat.lab import Loop, ki_range
from entrostat.lab.stability import IntegralRead
from entrostat.run.environment import environment

HERE = Path(__file__).parent
MOMENTA, DELAYS = (0.0, 0.5, 0.9), (0, 1)
READINGS: tuple[IntegralRead, ...] = ("after", "before")
TARGET = 1000.0  # far from zero: a diverging loop must not reach entropies that no policy has


def errors(loop: Loop, steps: int) -> list[float]:
    """The error at every step of the shipped controller on the plant, cut off where it has exploded."""
    controller = PI(TARGET, loop.kp, loop.ki, (-math.inf, math.inf), integral_read=loop.integral_read)
    state, held, velocity, error, path = controller.init(), 0.0, 0.0, 1.0, []
    for _ in range(steps):
        path.append(error)
        state = controller.step(state, TARGET + error)
        acting, held = (state.output, held) if loop.delay == 0 else (held, state.output)
        velocity = loop.momentum * velocity - (1 - loop.momentum) * loop.gain * acting
        error += velocity
        if abs(error) > 1e6:
            break
    return path


def grows(loop: Loop, steps: int) -> bool:
    """Whether the peaks of the last sixth are higher than those of the second sixth, and than rounding."""
    path, part = errors(loop, steps), steps // 6
    return len(path) < steps or max(map(abs, path[-part:])) > max(1e-9, *map(abs, path[part : 2 * part]))


def grid(read: IntegralRead, delay: int, momentum: float, points: int) -> list[Loop]:
    """Gains over the region and a quarter beyond it on both axes, none on a round number; the first row is P alone."""
    widest_kp = 2 * (1 + momentum) / (1 - momentum) if delay == 0 else 1.0
    if delay == 0 and read == "before":
        widest_kp *= 2 / (1 + momentum)  # the corner where low and high meet
    tallest_ki = max(ki_range(widest_kp * i / 200, read, delay, momentum)[1] for i in range(1, 200))
    return [
        Loop(
            1.25 * widest_kp * (i + 0.5) / points,
            1.25 * tallest_ki * max(j - 0.5, 0) / points,
            1.0,
            read,
            delay,
            momentum,
        )
        for i, j in itertools.product(range(points), range(points + 1))
    ]


def compare(read: IntegralRead, delay: int, momentum: float, points: int, steps: int) -> dict:
    """One case: how many verdicts agree, and how near the unit circle the others lie."""
    loops = grid(read, delay, momentum, points)
    wrong = [loop for loop in loops if grows(loop, steps) == loop.is_stable]
    return {
        "integral_read": read,
        "delay": delay,
        "momentum": momentum,
        "points": len(loops),
        "stable": sum(loop.is_stable for loop in loops),
        "disagree": len(wrong),
        "farthest_disagreement": max((abs(loop.spectral_radius - 1) for loop in wrong), default=0.0),
        "closed_form_against_poles": sum(
            loop.is_stable != (loop.spectral_radius < 1) for loop in loops if abs(loop.spectral_radius - 1) > 1e-9
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=32, help="gains on each axis")
    parser.add_argument("--steps", type=int, default=600, help="steps of each simulation")
    parser.add_argument("--out", type=Path, default=HERE / "stability.json")
    options = parser.parse_args()
    rows = []
    for momentum, delay, read in itertools.product(MOMENTA, DELAYS, READINGS):
        rows.append(compare(read, delay, momentum, options.points, options.steps))
        print(json.dumps(rows[-1]), flush=True)
    record = {"environment": environment(), "steps": options.steps, "rows": rows}
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
