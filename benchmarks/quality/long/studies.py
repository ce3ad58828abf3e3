"""What is run: each arm as the overrides that `entrostat train` takes, everything else as it comes by default.

tiny: countdown, 16 problems x 16 completions a step, learning rate 1.5e-4; every 200 steps the policy is kept, and judged on
400 held-out problems, greedily and in 16 tries. tiny-4: the same with four updates on each batch, so that most are off-policy
and there is something to clip. wide: as tiny, with numbers up to 20 and a start of its own (`wide.py`), where no training
problem comes twice in 800 steps. smollm2: sums of two-digit numbers, as many as a CPU can do: 8 problems x 4 completions a step,
learning rate 1e-6, bf16, judged every 100 steps on 100 held-out problems, greedily and in 8 tries.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

import wide
from common.smollm2 import TASK

from entrostat.run.arguments import TINY

SUMS = {"name": TASK[0], **TASK[1], "min_digits": 2, "max_digits": 2, "max_completion_tokens": 4}
COUNTDOWN = (
    "eval={every: 200, problems: 400, samples: 16, ks: [1, 16]}",
    "trainer.save_steps=200",
    "trainer.save_total_limit=100",
)
_TINY = ("model=tiny", "task=countdown", "threads=1", *COUNTDOWN)
POLICIES = {
    "tiny": _TINY,
    "tiny-4": (*_TINY, "trainer.num_iterations=4"),
    "wide": (
        f"model={wide.START}",
        f"task={{name: {wide.TASK.name}, high: {wide.TASK.high}}}",
        "threads=1",
        *(f"trainer.{name}={value}" for name, value in TINY.items()),
        *COUNTDOWN,
    ),
    "smollm2": (
        "model=smollm2",
        f"task={json.dumps(SUMS)}",
        "threads=1",
        "trainer.bf16=true",
        "trainer.learning_rate=1e-6",
        "trainer.per_device_train_batch_size=32",
        "trainer.num_generations=4",
        "eval={every: 100, problems: 100, samples: 8, ks: [1, 8], batch_size: 64}",
        "trainer.save_steps=50",
        "trainer.save_total_limit=1",
    ),
}


def _held(target: str) -> tuple[str, ...]:
    return (f"method={{name: hold, target: {target}}}",)


def _method(name: str, options: str = "") -> tuple[str, ...]:
    return (f"method={{name: {name}{', ' if options else ''}{options}}}",)


def arms(steps: int) -> dict[str, tuple[str, ...]]:
    """Every arm; targets that move reach their end with the last of `steps`."""
    last = "0.15 * initial"
    return {
        "plain": _method("observe"),
        # EntroPIC (2511.15248) as released, at its own level and at one that others hold beside it; AEC (2505.22312) too.
        "entropic-0.1": _method("entropic", "target: 0.1"),
        "entropic-50%": _method("entropic", "target: 0.5 * initial"),
        "entropic-P-50%": _method("entropic", "target: 0.5 * initial, ki: 0.0"),
        "aec-0.1": _method("skywork", "target: 0.1"),
        "aec-50%": _method("skywork", "target: 0.5 * initial"),
        # Clip_B and Clip_V (2602.03392): released values, and smaller ones, which drop more tokens.
        "clip_b-2.5": _method("clip_b"),
        "clip_b-1": _method("clip_b", "mu: 1.0"),
        "clip_b-0.5": _method("clip_b", "mu: 0.5"),
        "clip_v-8.5": _method("clip_v"),
        "clip_v-2": _method("clip_v", "mu: 2.0, largest_share: 0.05"),
        "clip_v-1": _method("clip_v", "mu: 1.0, largest_share: 0.2"),
        # `hold` at several levels, targets that move, and other ways to one of the levels.
        "hold-15%": _held("0.15 * initial"),
        "hold-30%": _held("0.3 * initial"),
        "hold-50%": _held("0.5 * initial"),
        "hold-75%": _held("0.75 * initial"),
        "hold-100%": _held("initial"),
        "hold-0.1": _held("0.1"),
        # A floor: the coefficient is never negative, so nothing pushes the entropy down on its way there.
        **{
            f"floor-{share}%": _method("hold", f"target: {share / 100} * initial, limits: [0, 1]") for share in (50, 75)
        },
        # The same without limits: the entropy is left alone between that level and its start, and held where it would climb.
        "band-75-100%": _held("{band: {low: 0.75 * initial, high: initial}}"),
        "anneal-linear": _held(f"{{linear: {{start: initial, end: {last}, steps: {steps}}}}}"),
        "anneal-50-to-15%": _held(f"{{linear: {{start: 0.5 * initial, end: {last}, steps: {steps}}}}}"),
        "hold-then-decay": _held(
            f"{{hold_then_decay: {{start: 0.5 * initial, end: {last}, hold: 0.5, steps: {steps}}}}}"
        ),
        "flow-50%": _method("flow", "target: 0.5 * initial"),
        "temperature-50%": _method("temperature", "target: 0.5 * initial"),
        # Rewards without a group baseline (2506.01347), and a bonus of fixed size.
        "w_reinforce": _method("w_reinforce"),
        "nsr": _method("nsr"),
        **{f"bonus-{coef}": _method("entropy_bonus", f"coef: {coef}") for coef in (0.003, 0.01, 0.1, 0.4)},
        "clip-higher": _method("clip_higher"),
    }


ARMS = tuple(arms(1))


@dataclass(frozen=True)
class Case:
    """One run: `name` is its folder."""

    arm: str
    seed: int
    policy: str = "tiny"

    @property
    def name(self) -> str:
        of_policy = "" if self.policy == "tiny" else f"{self.policy}-"
        return f"{of_policy}{self.arm.replace('%', '')}-seed{self.seed}"

    def arguments(self, steps: int) -> list[str]:
        """Everything after `entrostat train` for a new run, whose moving target reaches its end with the last step."""
        return [*POLICIES[self.policy], f"steps={steps}", f"seed={self.seed}", *arms(steps)[self.arm]]
