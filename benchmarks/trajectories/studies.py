"""What is run: three trajectories, each followed in four ways, as the overrides that `entrostat train` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SEEDS = (0, 1, 2)
STEPS = 60
COMMON = (
    "model=tiny",
    "task=countdown",
    "threads=1",
    f"steps={STEPS}",
    "trainer.learning_rate=1e-4",
    "trainer.per_device_train_batch_size=384",
    "trainer.num_generations=8",
    "trainer.save_steps=1000",
    "eval.problems=0",
)
# Nats by which one unit of output lowers this policy's entropy in a step: what `entrostat tune` finds in the run
# "hold, then decay" of PI alone with seed 0 (0.0102, standard error 0.0013).
GAIN = 0.010
PI = "kp: 20, ki: 0.4, limits: [-2, 2]"
METHODS = {
    "flow, PI": f"{{name: flow, controller: {{pi: {{target: TARGET, {PI}}}}}}}",
    "flow, PI with feed-forward": (
        f"{{name: flow, controller: {{pi: {{target: TARGET, {PI}, feed_forward: {1 / GAIN:.0f}}}}}}}"
    ),
    "flow, self-tuning": "{name: flow, controller: {self_tuning: {target: TARGET, settling: 30}}}",
    "hold": "{name: hold, target: TARGET, settling: 30}",
}
TRAJECTORIES = {
    "linear annealing": f"{{linear: {{start: initial, end: 0.6 * initial, steps: {STEPS}}}}}",
    "hold, then decay": f"{{hold_then_decay: {{steps: {STEPS}, end: 0.7 * initial, hold: 0.5}}}}",
    "increase, then decrease": (
        f"{{increase_then_decrease: {{steps: {STEPS}, peak: 1.2 * initial, end: 0.8 * initial}}}}"
    ),
}


@dataclass(frozen=True)
class Case:
    """One run: which target is followed, and by what."""

    trajectory: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """The folder that it is kept in."""
        return f"{self.trajectory}/{self.method}-seed{self.seed}".replace(",", "").replace(" ", "-")

    @property
    def arguments(self) -> list[str]:
        """Everything after `entrostat train`."""
        method = METHODS[self.method].replace("TARGET", TRAJECTORIES[self.trajectory])
        return [*COMMON, f"seed={self.seed}", f"method={method}"]


def all_cases(seeds: Sequence[int] = SEEDS) -> list[Case]:
    """Every run, seed by seed, so that the comparison is whole as early as can be."""
    return [Case(t, m, seed) for seed in seeds for t in TRAJECTORIES for m in METHODS]
