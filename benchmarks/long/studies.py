"""What is run: each arm as the overrides that `entrostat train` takes, everything else as it comes by default.

Defaults: the tiny policy on countdown, 16 problems x 16 completions a step, one update per batch, learning rate 1.5e-4.
Policies are kept every 200 steps and judged afterwards (`evaluate.py`), so that training is not slowed by evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass

KEPT_EVERY = 200
COMMON = (
    "model=tiny",
    "task=countdown",
    "threads=1",
    "eval.problems=0",
    f"trainer.save_steps={KEPT_EVERY}",
    "trainer.save_total_limit=100",
)
OFF_POLICY = ("trainer.num_iterations=4",)


def _held(target: str) -> tuple[str, ...]:
    return (f"method={{name: hold, target: {target}}}",)


def _method(name: str, options: str = "") -> tuple[str, ...]:
    return (f"method={{name: {name}{', ' if options else ''}{options}}}",)


ARMS: dict[str, tuple[str, ...]] = {
    "plain": _method("observe"),
    # EntroPIC (2511.15248) as released, at its own level; AEC (2505.22312) at the level that we hold beside it.
    "entropic-0.1": _method("entropic", "target: 0.1"),
    "aec-0.1": _method("skywork", "target: 0.1"),
    # Clip_B and Clip_V (2602.03392): released values, and smaller ones, which drop more tokens.
    "clip_b-2.5": _method("clip_b"),
    "clip_b-1": _method("clip_b", "mu: 1.0"),
    "clip_v-8.5": _method("clip_v"),
    "clip_v-2": _method("clip_v", "mu: 2.0, largest_share: 0.05"),
    # `hold` at five levels, and targets that move.
    "hold-15%": _held("0.15 * initial"),
    "hold-50%": _held("0.5 * initial"),
    "hold-75%": _held("0.75 * initial"),
    "hold-100%": _held("initial"),
    "hold-0.1": _held("0.1"),
    "anneal-linear": _held("{linear: {start: initial, end: 0.15 * initial, steps: 600}}"),
    "hold-then-decay": _held("{hold_then_decay: {start: initial, end: 0.15 * initial, hold: 300, steps: 300}}"),
    # Rewards without a group baseline (2506.01347), and a bonus of fixed size.
    "w_reinforce": _method("w_reinforce"),
    "nsr": _method("nsr"),
    "bonus-0.003": _method("entropy_bonus", "coef: 0.003"),
    "bonus-0.01": _method("entropy_bonus", "coef: 0.01"),
    # Off-policy: four updates per batch, with a symmetric and with a higher upper clip.
    "off-policy": (*_method("observe"), *OFF_POLICY),
    "off-policy-clip-higher": (*_method("clip_higher"), *OFF_POLICY),
}


@dataclass(frozen=True)
class Case:
    """One run: `name` is its folder."""

    arm: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm.replace('%', '')}-seed{self.seed}"

    def arguments(self, steps: int) -> list[str]:
        """Everything after `entrostat train`."""
        return [*COMMON, f"steps={steps}", f"seed={self.seed}", *ARMS[self.arm]]
