"""Which way entropy-advantage shaping moves the entropy, and why: `python benchmarks/quality/lens/advantage.py`.

Where its bound is reached, A + |A| / kappa. Of a group with a share q of right answers, |A| = (1 - 2 q) A + c, so that

    A + |A| / kappa = A (1 + (1 - 2 q) / kappa) + c / kappa

The first part is plain training with a larger step where fewer than half of the answers are right, and a smaller one where more
are. The second rewards whatever was sampled: on fresh samples the mean of c D is 0, on samples that were trained on it is not.
So both are varied: how hard the prompts are, and the updates on each batch. All figures are shares of what plain training does.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from policies import Foreseen, ready, train

from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.types import TokenBatch

FILE = Path(__file__).with_suffix(".json")
SEEDS, STEPS = 10, 24
EASY, HARD = 2, 4  # good tokens that make an answer right
NAME = "entropy_advantage"


class ByUpdate(Foreseen):
    """What the lens says along a run, by the number of the update on its batch."""

    def __init__(self, updates: int) -> None:
        super().__init__({NAME: ready(NAME, 1.0)})
        self.added, self.without = [0.0] * updates, [0.0] * updates
        self.right: list[float] = []

    def look(self, batch: TokenBatch) -> None:
        place, before, plain = self.looks % len(self.added), self.change[NAME], self.plain
        super().look(batch)
        self.added[place] += self.change[NAME] - before
        self.without[place] += self.plain - plain
        assert batch.rewards_B is not None
        self.right.append(float(batch.rewards_B.mean()))


def study(seed: int, needed: int, updates: int) -> dict[str, Any]:
    foreseen = ByUpdate(updates)
    plain = train(ready("observe", 1.0), seed, STEPS, foreseen, needed, updates)
    own = train(ready(NAME, 1.0), seed, STEPS, None, needed, updates)
    return {
        "seed": seed,
        "needed": needed,
        "updates": updates,
        "right": round(fmean(foreseen.right), 4),
        "plain": round(plain["end"] - plain["start"], 5),
        "foreseen": round(foreseen.share(NAME), 5),
        "measured": round((own["end"] - plain["end"]) / abs(plain["end"] - plain["start"]), 5),
        "added": [round(value, 6) for value in foreseen.added],
        "without": [round(value, 6) for value in foreseen.without],
    }


def main() -> None:
    torch.set_num_threads(1)
    record = json.loads(FILE.read_text()) if FILE.exists() else {"rows": []}
    record |= {"environment": environment(), "steps": STEPS}
    for seed in range(SEEDS):
        for needed in (EASY, HARD):
            for updates in (1, 4):
                key = (seed, needed, updates)
                if any((row["seed"], row["needed"], row["updates"]) == key for row in record["rows"]):
                    continue
                record["rows"].append(study(*key) | {"commit": record["environment"]["git"]})
                write_json(FILE, record)


if __name__ == "__main__":
    main()
