"""What is run: the self-tuning controller at four targets, and other methods beside it.

The same two settings everywhere: a target, as a share of the initial entropy, and a settling time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.smollm2 import SMOLLM2
from common.tiny import TINY, held, self_tuned

SHARES = (0.5, 0.75, 1.0, 1.25)
OUT_OF_REACH = (
    3.0  # of the initial entropy: more than reweighting tokens brings about; is it said in the first 20 steps?
)
TINY_RUN = (*TINY, "steps=75", "eval={every: 0, problems: 200, samples: 8, ks: [1, 8]}")


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
        return f"{self.model}/{self.label.replace(',', '').replace(' ', '-')}{share}-seed{self.seed}"

    @property
    def arguments(self) -> list[str]:
        """Everything after `entrostat train`."""
        return [*(TINY_RUN if self.model == "tiny" else SMOLLM2), f"seed={self.seed}", *self.overrides]


def named(case: Case) -> dict[str, Any]:
    """What a run is known by in the results."""
    return {"model": case.model, "method": case.label, "share": case.share, "seed": case.seed}


def cases(model: str, seed: int) -> list[Case]:
    """The self-tuned runs of one model and seed, and what is run beside them."""
    found = [Case(model, "flow self-tuned", seed, (self_tuned("flow", share),), share) for share in SHARES]
    found += [Case(model, "hold self-tuned", seed, (held(share),), share) for share in SHARES]
    found.append(Case(model, "plain GRPO", seed, ("method.name=observe",)))
    return found + others(model, seed, 0.75)


def out_of_reach(model: str, seed: int) -> Case:
    """A short run at a target that cannot be reached."""
    overrides = (self_tuned("flow", OUT_OF_REACH), "steps=25", "eval.problems=0")
    return Case(model, "flow self-tuned", seed, overrides, OUT_OF_REACH)


def large_batch(seed: int, share: float) -> Case:
    """SmolLM2 with four times as many completions a step: how much of what is seen there is a batch's own noise?"""
    overrides = (held(share), "trainer.gradient_accumulation_steps=4", "trainer.num_generations=16")
    return Case("smollm2", "hold, 256 completions", seed, overrides, share)


def others(model: str, seed: int, share: float) -> list[Case]:
    """The published controllers at one target."""
    methods = {
        "EntroPIC released": f"method={{name: entropic, target: {share} * initial}}",
        "EntroPIC self-tuned": self_tuned("entropic", share, ", limits: [-1, 1]"),
        "Skywork AEC": f"method={{name: skywork, target: {share} * initial}}",
    }
    return [Case(model, label, seed, (method,), share) for label, method in methods.items()]


def all_cases(models: tuple[str, ...] = ("tiny", "smollm2"), seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> list[Case]:
    """Every run, seed by seed, so that whatever is there is balanced; large batches and second targets come last.

    SmolLM2 has two seeds.
    """
    wanted = [(model, seed) for model in models for seed in seeds if model == "tiny" or seed < 2]
    first = [case for model, seed in wanted for case in [*cases(model, seed), out_of_reach(model, seed)]]
    first += [large_batch(seed, share) for model, seed in wanted if model == "smollm2" for share in SHARES]
    return first + [case for model, seed in wanted if model == "tiny" for case in others(model, seed, 1.0)]
