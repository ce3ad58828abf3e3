"""What is run: the self-tuning controller at four targets, and other methods beside it.

The same two settings everywhere: a target, as a share of the initial entropy, and a settling time.
"""

from __future__ import annotations

from dataclasses import dataclass

SETTLING = 25
SHARES = (0.5, 0.75, 1.0, 1.25)
# 128 prompts x 8 completions: a batch has noise of its own, and less than 3 % of the lowest target is asked for.
TINY = (
    "model=tiny",
    "task=countdown",
    "threads=1",
    "steps=90",
    "trainer.learning_rate=1e-4",
    "trainer.per_device_train_batch_size=1024",
    "trainer.num_generations=8",
    "trainer.save_steps=1000",
    "eval.every=0",
    "eval.problems=200",
    "eval.samples=8",
    "eval.ks=[1,8]",
)
# A learning rate at which sixty steps move the entropy visibly.
SMOLLM2 = ("examples/smollm2.yaml", "trainer.save_steps=1000", "eval={every: 0, problems: 32, samples: 8, ks: [1, 8]}")


@dataclass(frozen=True)
class Case:
    """One run. `share` is its target as a share of the initial entropy, None where there is none."""

    model: str
    label: str
    seed: int
    overrides: tuple[str, ...]
    share: float | None = None

    @property
    def name(self) -> str:
        share = "" if self.share is None else f"-{self.share:.2f}"
        return f"{self.model}/{self.label.replace(' ', '-')}{share}-seed{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """Everything after `entrostat train`."""
        return [*(TINY if self.model == "tiny" else SMOLLM2), f"seed={self.seed}", *self.overrides]


def self_tuned(method: str, share: float, more: str = "") -> str:
    settings = f"target: {share} * initial, settling: {SETTLING}{more}"
    return f"method={{name: {method}, controller: {{self_tuning: {{{settings}}}}}}}"


def cases(model: str, seed: int) -> list[Case]:
    """Every run of one model and seed."""
    found = [Case(model, "flow self-tuned", seed, (self_tuned("flow", share),), share) for share in SHARES]
    found.append(Case(model, "plain GRPO", seed, ("method.name=observe",)))
    if model == "tiny":
        for share in (0.75, 1.0):
            others = {
                "EntroPIC released": f"method={{name: entropic, target: {share} * initial}}",
                "EntroPIC self-tuned": self_tuned("entropic", share, ", limits: [-1, 1]"),
                "Skywork AEC": f"method={{name: skywork, target: {share} * initial}}",
            }
            found += [Case(model, label, seed, (method,), share) for label, method in others.items()]
    return found


def all_cases(models: tuple[str, ...] = ("tiny", "smollm2"), seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> list[Case]:
    """Every run, seed by seed, so that whatever is there is balanced. SmolLM2 has two seeds."""
    return [case for model in models for seed in seeds if model == "tiny" or seed < 2 for case in cases(model, seed)]
