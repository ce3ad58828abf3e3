"""One batch through the TRL adapter, four steps of it: `parity.json` holds what verl's driver must make of it.

    python tests/hosts/verl/parity_case.py        writes the file again

The learning rate is zero and the completions are prescribed, so every step has the same batch and the same logits. TRL's
trainer acts with what it learnt in the step before, verl's driver with what it learns from this very batch: weights of
TRL's step t + 1 are those of verl's step t. The two libraries divide advantages by a standard deviation with different
small constants; every group has as many right answers, so that this is one factor, and a weight does not see it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[2]))

import entrostat as es

FILE = Path(__file__).with_name("parity.json")
METHODS: dict[str, dict[str, Any]] = {
    "flow": {"name": "flow", "target": 1.0, "kp": 2.0, "ki": 0.3},
    "entropic": {"name": "entropic", "target": 1.0, "select": "discriminator", "normaliser": "all", "kp": 0.4},
    "clip_b": {"name": "clip_b", "mu": 0.6},
    "clip_v": {"name": "clip_v", "mu": 0.6, "largest_share": 1.0},
}
STEPS = 4


def method(name: str) -> Any:
    return es.make(**METHODS[name])


def through_trl(name: str) -> dict[str, Any]:
    """The batch's statistics, and the factor on each token's advantage at each of TRL's steps but the first."""
    import torch
    from hosts.trl.trl_case import PROMPTS, TOKENIZER, trainer
    from trl import GRPOTrainer

    from entrostat.hosts.trl.loss import token_factor

    class Prescribed(GRPOTrainer):
        def _generate_single_turn(self, prompt_ids, *_, **__):
            seen: Counter[str] = Counter()
            completions = []
            for prompt in map(TOKENIZER.decode, prompt_ids):
                i, seen[prompt] = seen[prompt], seen[prompt] + 1
                text = "12+3=456-78*9"[i : i + 2 + (i + PROMPTS.index(prompt)) % 4]
                completions.append([*TOKENIZER(text)["input_ids"], TOKENIZER.eos_token_id])
            return completions, None

    def reward(prompts, completions, **_):
        return [float(text[0] in "13") for text in completions]  # two of the four in every group

    with tempfile.TemporaryDirectory() as folder:
        run = trainer(
            Path(folder),
            Prescribed,
            reward=reward,
            prompts=PROMPTS[:2],
            wrap=lambda cls: es.trl.controlled(cls, method(name)),
            max_completion_length=8,
            learning_rate=0.0,
            max_steps=STEPS + 1,
            shuffle_dataset=False,
        )
        seen: list[tuple[Any, Any]] = []
        apply = run.entropy_control.apply

        def spy(surrogate, batch):
            changed = apply(surrogate, batch)
            seen.append((batch, token_factor(changed, batch, "token")))
            return changed

        run.entropy_control.apply = spy
        run.train()
    batch = seen[0][0]
    # Rows are shuffled from step to step: brought into one order, that of their statistics.
    order = [sorted(range(8), key=lambda i, b=b: b.stats.logp[i].tolist()) for b, _ in seen]
    for (later, _), rows in zip(seen, order, strict=True):
        assert torch.allclose(later.stats.logp[rows], batch.stats.logp[order[0]], atol=1e-5)
    rows = order[0]
    return {
        "method": METHODS[name],
        "stats": {n: getattr(batch.stats, n)[rows].tolist() for n in sorted(batch.stats.available())},
        "advantages": batch.advantages_BT[rows].tolist(),
        "mask": batch.mask_BT[rows].tolist(),
        "weights": [w[r].tolist() for (_, w), r in zip(seen[1:], order[1:], strict=True)],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps({name: through_trl(name) for name in METHODS}) + "\n")
