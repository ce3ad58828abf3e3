"""The small pictures of docs/targets.md, each drawn from the target itself: `python docs/images/patterns.py`."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from entrostat.control import (
    Band,
    Cosine,
    Initial,
    Linear,
    Target,
    decrease_increase_decrease,
    entrocraft_band,
    hold_then_decay,
    increase_then_decrease,
    oscillating_decay,
)
from entrostat.control.targets import target_at

IMAGES = Path(__file__).parent
INITIAL = 0.6  # what the policies of the pictures start with [nats per token]
STEPS = 200
TARGETS: dict[str, Target] = {
    "initial": Initial(),
    "linear": Linear(Initial(), Initial(0.5), STEPS),
    "cosine": Cosine(Initial(), Initial(0.5), STEPS),
    "increase-then-decrease": increase_then_decrease(STEPS, Initial(1.3), Initial(0.5)),
    "decrease-increase-decrease": decrease_increase_decrease(STEPS, Initial(0.6), Initial(1.1), Initial(0.4)),
    "oscillating-decay": oscillating_decay(STEPS, 4),
    "hold-then-decay": hold_then_decay(STEPS, Initial(0.7)),
    "entrocraft-band": entrocraft_band(STEPS),
}


def draw(target: Target, path: Path) -> None:
    """The target over its steps and a little beyond, on the same axes for all."""
    steps = range(int(STEPS * 1.1) + 1)
    figure = Figure(figsize=(2.2, 1.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    edges = (target.low, target.high) if isinstance(target, Band) else (target,)
    curves = [[target_at(edge, step, INITIAL) for step in steps] for edge in edges]
    for curve in curves:
        axes.plot(steps, curve, color="#0072B2", linewidth=1.5)
    if len(curves) == 2:
        axes.fill_between(steps, *curves, color="#0072B2", alpha=0.2, linewidth=0)
    axes.set(ylim=(0, 0.85), xlim=(0, steps[-1]), xticks=[0, STEPS], yticks=[0, INITIAL])
    axes.tick_params(labelsize=6, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    for name, target in TARGETS.items():
        draw(target, IMAGES / f"target-{name}.png")
