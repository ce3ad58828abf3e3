"""Would control variates make a batch's mean entropy less noisy? `python benchmarks/quality/long/control_variates.py`.

On-policy, surprisal less entropy and the discriminator D have mean zero at every position, so that their means over a batch may
be subtracted from its mean entropy with any factor. The best factors (least squares over batches) say how much noise that could
take away at most. A batch is 16 prompts with 16 completions each, drawn with replacement from many more.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

import torch
from common.smollm2 import TASK
from torch import Tensor

import entrostat as es
from entrostat.models import load_policy
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.tasks import Task, load_task
from entrostat.tasks.sampling import sample, undisturbed

HERE = Path(__file__).parent
PROMPTS, GROUP, BATCHES = 16, 16, 4000
VARIATES = ("surprise", "centered")


@torch.no_grad()
def measured(model: str, task: Task, problems: int, seed: int) -> dict[str, Tensor]:
    """Of each problem and completion, (P, G): tokens, and sums of entropy, of surprisal less entropy, and of D."""
    policy, found = load_policy(model), dict[str, list[Tensor]]()
    with undisturbed(policy.model, seed):
        for problem in task.problems("train", problems, seed):
            prompts, length = [problem.prompt] * GROUP, task.max_completion_tokens
            drawn = sample(policy.model, policy.tokenizer, prompts, max_new_tokens=length, temperature=task.temperature)
            logits = policy.model(input_ids=drawn.ids_BS, attention_mask=drawn.attention_BS.long()).logits
            stats = es.token_stats(
                logits[:, drawn.prompt_length - 1 : -1],
                drawn.ids_BS[:, drawn.prompt_length :],
                want={"logp", "entropy", "baseline"},
                temperature=task.temperature,
            )
            values = {"tokens": torch.ones_like(stats.need("logp")), "entropy": stats.need("entropy")}
            values |= {"surprise": -stats.need("logp") - stats.need("entropy"), "centered": stats.centered}
            for name, value_BT in values.items():
                found.setdefault(name, []).append(value_BT.masked_fill(~drawn.mask_BT, 0).double().sum(1))
    return {name: torch.stack(rows) for name, rows in found.items()}


def noise(sums: dict[str, Tensor], seed: int) -> dict[str, Any]:
    """Standard deviation of a batch's mean entropy, and what is left of it with each variate and with both."""
    generator = torch.Generator().manual_seed(seed)
    problems = len(sums["tokens"])
    drawn_NP = torch.randint(problems, (BATCHES, PROMPTS), generator=generator)
    kept_NPG = torch.randint(GROUP, (BATCHES, PROMPTS, GROUP), generator=generator)
    totals = {name: value[drawn_NP.unsqueeze(-1), kept_NPG].sum((1, 2)) for name, value in sums.items()}
    means = {name: total / totals["tokens"] for name, total in totals.items()}
    entropy_N = means["entropy"] - means["entropy"].mean()
    row: dict[str, Any] = {
        "entropy": float(means["entropy"].mean()),
        "noise": float(entropy_N.std() / means["entropy"].mean()),
    }
    # The same with every prompt at its own mean: what is left is between prompts, which no variate of sampling reaches.
    mean_P, tokens_P = sums["entropy"].mean(1), sums["tokens"].mean(1)
    between_N = mean_P[drawn_NP].sum(1) / tokens_P[drawn_NP].sum(1)
    row["between_prompts"] = float(between_N.var() / entropy_N.var())
    for chosen in (*((name,) for name in VARIATES), VARIATES):
        variates_NK = torch.stack([means[name] for name in chosen], 1)
        factors_K = torch.linalg.lstsq(variates_NK, entropy_N).solution
        left = (entropy_N - variates_NK @ factors_K).var() / entropy_N.var()
        row[" and ".join(chosen)] = {"variance_left": float(left), "factors": factors_K.tolist()}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="*", default=["tiny", "smollm2"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    tasks = {"tiny": load_task("countdown"), "smollm2": load_task(TASK[0], **TASK[1])}
    rows = {}
    for model in options.models:
        rows[model] = noise(measured(model, tasks[model], options.problems, options.seed), options.seed)
        print(model, rows[model], flush=True)
        given = {"prompts": PROMPTS, "group": GROUP, "sampled_problems": options.problems, "seed": options.seed}
        write_json(HERE / "control_variates.json", {"environment": environment(), **given, "rows": rows})


if __name__ == "__main__":
    main()
