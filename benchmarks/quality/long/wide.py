"""The start of the wide setting: `python benchmarks/quality/long/wide.py` (ten minutes of a core).

Countdown over numbers up to 20 has thirteen thousand training problems, where numbers up to 9 have 1,715: in a run of 1,000 steps
of 16 problems hardly any comes twice, so that what is learned is not those problems. The policy has the shape of `tiny` and is
made as that is, by supervised training on completions of which half miss the target.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from entrostat.tasks.countdown import Countdown

TASK = Countdown(high=20)
START = Path(__file__).parent / "runs" / "wide-start"
PROBLEMS, STEPS, SEED = 6_000, 3_000, 0


def main() -> None:
    import torch

    from entrostat.models import warmstart
    from entrostat.models.start import measure_start
    from entrostat.models.tokenizer import char_tokenizer

    torch.set_num_threads(1)
    recipe, tokenizer = warmstart.RECIPES["tiny"], char_tokenizer()
    posed = TASK.problems("train", PROBLEMS, SEED)
    model = warmstart.train(seed=SEED, steps=STEPS, miss=recipe.miss, shape=recipe.shape, problems=posed)
    model.save_pretrained(START)
    tokenizer.save_pretrained(START)
    start = asdict(measure_start(model, tokenizer, TASK, TASK.problems("eval", 300, SEED), samples=16))
    print(json.dumps({name: round(value, 3) for name, value in start.items()}))


if __name__ == "__main__":
    main()
