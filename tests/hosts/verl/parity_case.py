"""One batch through the TRL adapter, four steps of it: `parity.json` holds what verl's driver and a loop of one's own make of it.

    python tests/hosts/verl/parity_case.py        writes the file again

The learning rate is zero and the completions are prescribed, so every step has the same batch and the same logits. TRL's
trainer acts with what it learned in the step before, verl's driver with what it learns from this very batch: weights of
TRL's step t + 1 are those of verl's step t. The two libraries divide advantages by a standard deviation with different
small constants; every group has as many right answers, so that this is one factor, and a weight does not see it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import entrostat as es

FILE = Path(__file__).with_name("parity.json")
METHODS: dict[str, Any] = {
    "flow": {"name": "flow", "target": 1.0, "kp": 2.0, "ki": 0.3},
    "entropic": {"name": "entropic", "target": 1.0, "select": "discriminator", "normalizer": "all", "kp": 0.4},
    "clip_b": {"name": "clip_b", "mu": 0.6},
    "clip_v": {"name": "clip_v", "mu": 0.6, "largest_share": 1.0},
    "entropy_advantage": {"name": "entropy_advantage", "alpha": 0.9},
    "steer": {"name": "steer", "w_min": 0.3},
    "high_entropy_tokens of the step": {"name": "high_entropy_tokens", "share": 0.4, "scope": "step"},
    "high_entropy_tokens of a group": {"name": "high_entropy_tokens", "share": 0.4, "scope": "group"},
    "unlikeliness": {"name": "unlikeliness", "beta": 0.8},
    "temperature": {"name": "temperature", "target": 1.0, "rate": 0.05},
    "unlikeliness, then clip_b": [{"name": "unlikeliness", "beta": 0.8}, {"name": "clip_b", "mu": 0.6}],
    "asym_grpo, flow, temperature": [
        {"name": "asym_grpo"},
        {"name": "flow", "controller": 0.7},
        {"name": "temperature", "target": 1.0, "rate": 0.05},
    ],
}
"""Methods of each stage, of each scope, and chains over several stages."""
STEPS = 4


def method(name: str) -> Any:
    options = METHODS[name]
    return es.chain(*(es.make(**each) for each in (options if isinstance(options, list) else [options])))


def completion(prompt: int, sample: int) -> str:
    """What stands for the answer of a prompt, by its number and the number of the sample."""
    return "12+3=456-78*9"[sample : sample + 2 + (sample + prompt) % 4]


def scored(text: str) -> float:
    """Two of the four answers of each group are right."""
    return float(text[0] in "13")


def through_trl(name: str) -> dict[str, Any]:
    """The batch as TRL's adapter sees it, and what TRL's own backward pass makes of each token at its steps but the first.

    `push`: how far the loss pushes each token's log-probability up, before the mean over tokens.
    """
    from hosts.trl.trl_case import PROMPTS, prescribed, trainer, watching

    def reward(prompts, completions, **_):
        return [scored(text) for text in completions]

    with tempfile.TemporaryDirectory() as folder:
        run = trainer(
            Path(folder),
            watching(prescribed(completion)),
            reward=reward,
            prompts=PROMPTS[:2],
            wrap=lambda cls: es.trl.controlled(cls, method(name)),
            max_completion_length=8,
            learning_rate=0.0,
            max_steps=STEPS + 1,
            shuffle_dataset=False,
            loss_type="dapo",
        )
        seen: list[Any] = []
        temperatures: list[float] = []
        apply = run.entropy_control.apply

        def spy(surrogate, batch):
            seen.append(batch)
            temperatures.append(run.entropy_control.temperature)
            return apply(surrogate, batch)

        run.entropy_control.apply = spy
        run.train()
    # Rows are shuffled from step to step: brought into one order, that of their log-probabilities.
    order = [sorted(range(8), key=lambda i, b=b: b.stats.logp[i].masked_fill(~b.mask[i], 0).tolist()) for b in seen]
    first, rows = seen[0], order[0]
    tokens = first.mask.sum()
    return {
        "method": METHODS[name],
        "stats": {n: getattr(first.stats, n)[rows].tolist() for n in sorted(first.stats.available())},
        "advantages": first.advantages_BT[rows].tolist(),
        "mask": first.mask_BT[rows].tolist(),
        "rewards": first.rewards_B[rows].tolist(),
        "groups": first.groups_B[rows].tolist(),
        "temperatures": temperatures[1:],
        "push": [
            (push * tokens).masked_fill(~b.mask, 0)[r].tolist()
            for b, push, r in zip(seen[1:], run.pushes[1:], order[1:], strict=True)
        ],
    }


def rounded(value: Any) -> Any:
    """Seven decimals: fp32 has no more."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return (
        [rounded(each) for each in value]
        if isinstance(value, list)
        else round(value, 7)
        if isinstance(value, float)
        else value
    )


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: rounded(through_trl(name)) for name in METHODS}) + "\n")
