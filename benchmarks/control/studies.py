"""What is run: every run of every study as the overrides that `entrostat train` takes."""

from __future__ import annotations

from dataclasses import dataclass

SEEDS = (0, 1, 2)
# The shipped policy starts at 0.26 nats. With 32 prompts x 8 completions a step, the batch's own noise alone is about 0.008
# nats; 48 prompts keep it below 5 % of the lowest target.
COMMON = (
    "model=tiny",
    "task=countdown",
    "threads=1",
    "steps=120",
    "trainer.learning_rate=1e-4",
    "trainer.per_device_train_batch_size=384",
    "trainer.num_generations=8",
    "trainer.save_steps=1000",
    "eval.every=0",
    "eval.problems=100",
    "eval.samples=8",
    "eval.ks=[1,8]",
)
TARGETS = (0.22, 0.26, 0.32)
# Found on this policy: the plant's gain at this learning rate is about 0.0025 nats per unit of output and step, and AdamW's
# momentum adds a lag of ten steps.
GAINS = ("method.kp=40", "method.ki=0.6")
# Four updates on each batch of 512 completions: all but the first are off-policy.
OFF_POLICY = (
    "trainer.per_device_train_batch_size=128",
    "trainer.steps_per_generation=4",
    "trainer.learning_rate=2e-4",
    "steps=160",
)


@dataclass(frozen=True)
class Case:
    """One run: `name` is its folder, `label` what it is called in tables, `study` which question it belongs to."""

    study: str
    label: str
    seed: int
    overrides: tuple[str, ...]
    target: float | None = None

    @property
    def name(self) -> str:
        target = "" if self.target is None else f"-{self.target:.2f}"
        return f"{self.study}/{self.label.replace(' ', '-').replace(',', '')}{target}-seed{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """Everything after `entrostat train`."""
        target = () if self.target is None else (f"method.target={self.target}",)
        return [*COMMON, f"seed={self.seed}", *self.overrides, *target]


def hold(seed: int) -> list[Case]:
    """Study 1: plain GRPO, and flow at three targets."""
    cases = [Case("hold", "plain GRPO", seed, ("method.name=observe",))]
    cases += [Case("hold", "flow", seed, ("method.name=flow", *GAINS), target) for target in TARGETS]
    return cases


def entropic(seed: int) -> list[Case]:
    """Study 1, beside it: EntroPIC as released, and its variant with authority under flow's gains, at the lowest target."""
    variant = (*GAINS, "method.normaliser=all", "method.anti_windup=true", "method.select=discriminator")
    return [
        Case("hold", label, seed, ("method.name=entropic", *options), TARGETS[0])
        for label, options in {"entropic as released": (), "entropic D > 0 strong gains": variant}.items()
    ]


def off_policy(seed: int) -> list[Case]:
    """Study 2: four updates per batch, P alone and PI, with the same proportional gain."""
    cases = []
    for label, gains in {
        "flow P": ("method.kp=10", "method.ki=0"),
        "flow PI": ("method.kp=10", "method.ki=0.3"),
    }.items():
        cases.append(Case("off_policy", label, seed, ("method.name=flow", *gains, *OFF_POLICY), 0.26))
    return cases


def interventions(seed: int) -> list[Case]:
    """Study 3: training on one kind of token alone, as the theorem's authors do."""
    short = ("steps=30", "eval.problems=0", "trainer.per_device_train_batch_size=192")
    return [
        Case(
            "interventions",
            f"{samples} samples S {sign} 0",
            seed,
            ("method.name=only_tokens", f"method.samples={samples}", f"method.discriminator={discriminator}", *short),
        )
        for samples in ("positive", "negative")
        for sign, discriminator in ((">", "positive"), ("<", "negative"))
    ]


STUDIES = {"hold": hold, "off_policy": off_policy, "interventions": interventions, "entropic": entropic}


def all_cases(studies: tuple[str, ...] = tuple(STUDIES)) -> list[Case]:
    """Every run, study by study."""
    return [case for study in studies for seed in SEEDS for case in STUDIES[study](seed)]
