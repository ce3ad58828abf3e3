"""What is run: every actuator at every target, and plain GRPO, as the overrides that `entrostat train` takes."""

from __future__ import annotations

from dataclasses import dataclass

SEEDS = (0, 1, 2, 3, 4)
INITIAL = 0.26
"""The entropy that the shipped policy starts with [nats per token], over batches of training problems."""
TARGETS = tuple(round(share * INITIAL, 3) for share in (0.75, 1.0, 1.25))

COMMON = (
    "model=tiny",
    "task=countdown",
    "threads=1",
    "steps=100",
    "trainer.learning_rate=1e-4",
    "trainer.per_device_train_batch_size=256",
    "trainer.num_generations=4",
    "trainer.save_steps=1000",
    "eval.problems=200",
    "eval.samples=8",
    "eval.ks=[1,8]",
)
PLAIN = "plain GRPO"


@dataclass(frozen=True)
class Actuator:
    """How an output acts: a method with its options, the knob that the controller turns, and how far it may be turned.

    The limits of a weighting let the weight of a typical token go from 0 to about 5 (cost-weighted flow is ten times as large on
    tokens that are all but certain as on others); those of a bonus let it outweigh the reward; those of the temperature are 5 %
    a step. A temperature acts at once, without the optimizer's momentum.
    Tokens above a probability of 0.95 have hardly any gradient: they do not hold the lowest target, and are not asked for more.
    """

    method: str
    limits: tuple[float, float]
    options: tuple[str, ...] = ()
    knob: str = "controller"
    settling: int = 30
    momentum: float = 0.86
    targets: tuple[float, ...] = TARGETS

    def overrides(self, target: float | str) -> tuple[str, ...]:
        tuning = f"target: {target}, settling: {self.settling}, limits: {list(self.limits)}, momentum: {self.momentum}"
        options = (*self.options, f"{self.knob}={{self_tuning: {{{tuning}}}}}")
        return (f"method.name={self.method}", *(f"method.{option}" for option in options))


ACTUATORS = {
    "flow": Actuator("flow", (-2.0, 2.0)),
    "sign of D": Actuator("entropic", (-4.0, 4.0), ("select=discriminator", "normaliser=all")),
    "p > 0.95": Actuator(
        "entropic", (-4.0, 4.0), ("select=probability", "threshold=0.95", "normaliser=all"), targets=TARGETS[:1]
    ),
    "cost-weighted flow": Actuator("flow", (-40.0, 40.0), ("shape=cost",)),
    "temperature": Actuator("temperature", (-5.0, 5.0), settling=15, momentum=0.0),
    "entropy bonus": Actuator("entropy_bonus", (-1.0, 1.0), knob="coef"),
}


@dataclass(frozen=True)
class Case:
    """One run: `name` is its folder; `target` in nats per token, None for plain GRPO."""

    actuator: str
    target: float | None
    seed: int

    @property
    def name(self) -> str:
        level = "" if self.target is None else f"-{self.target}"
        return f"{self.actuator.replace(' ', '-').replace('>', 'above')}{level}-seed{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """Everything after `entrostat train`."""
        if self.target is None:
            # Its own trajectory is a curve of reward against entropy.
            return [*COMMON, f"seed={self.seed}", "eval.every=20", "method.name=observe"]
        return [*COMMON, f"seed={self.seed}", "eval.every=0", *ACTUATORS[self.actuator].overrides(self.target)]


def all_cases(actuators: tuple[str, ...] = tuple(ACTUATORS), seeds: tuple[int, ...] = SEEDS) -> list[Case]:
    """Every run, seed by seed: whatever has been finished so far is balanced over actuators and targets."""
    cases: list[Case] = []
    for seed in seeds:
        cases.append(Case(PLAIN, None, seed))
        cases += [
            Case(actuator, target, seed)
            for target in TARGETS
            for actuator in actuators
            if target in ACTUATORS[actuator].targets
        ]
    return cases
