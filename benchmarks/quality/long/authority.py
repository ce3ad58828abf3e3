"""Authority over drift against the length of a response, on real batches: `python benchmarks/quality/long/authority.py`.

The tiny policy solves N problems in one response that earns one reward, the share of them that it solved: sample i of N
problems is one response in N parts. Drift is mean(A D) over all tokens, what the advantages themselves do to the entropy;
authority is mean(|A| D) over tokens with p > 0.95, what EntroPIC's released term can do at its limits. Both per token.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import entrostat as es
from entrostat.lab.tabular import group_advantages
from entrostat.models import load_policy
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.tasks.countdown import Countdown
from entrostat.tasks.sampling import Completions, sample, undisturbed

HERE = Path(__file__).parent
GROUP, TOGETHER, PARTITIONS = 16, 16, 200
COUNTS = (1, 4, 16, 64)


@torch.no_grad()
def sampled(
    policy: Any, prompts: list[str], length: int, at_once: int | None = None
) -> tuple[Completions, Tensor, Tensor]:
    """Completions of some prompts; of each token D, 0 beyond the end, and whether p > 0.95, both (B, T).

    Args:
        at_once: completions that are scored together; None: all.
    """
    drawn = sample(policy.model, policy.tokenizer, prompts, max_new_tokens=length)
    centered, certain, rows = [], [], at_once or len(prompts)
    for ids_BS, attention_BS in zip(drawn.ids_BS.split(rows), drawn.attention_BS.split(rows), strict=True):
        logits = policy.model(input_ids=ids_BS, attention_mask=attention_BS.long()).logits[
            :, drawn.prompt_length - 1 : -1
        ]
        stats = es.token_stats(logits, ids_BS[:, drawn.prompt_length :], want={"logp", "entropy", "baseline"})
        centered.append(stats.centered)
        certain.append(stats.prob > 0.95)
    return drawn, torch.cat(centered).masked_fill(~drawn.mask_BT, 0), drawn.mask_BT & torch.cat(certain)


@torch.no_grad()
def measured(problems: int, seed: int) -> dict[str, Tensor]:
    """Of each problem and sample, (P, G): reward, tokens, sum of D, and tokens and sum of D among those with p > 0.95."""
    policy, task = load_policy("tiny"), Countdown()
    posed = task.problems("train", problems, seed)
    found: dict[str, list[Tensor]] = {}
    with undisturbed(policy.model, seed):
        for first in range(0, problems, TOGETHER):
            rows = [problem for problem in posed[first : first + TOGETHER] for _ in range(GROUP)]
            prompts = [problem.prompt for problem in rows]
            drawn, centered_BT, certain_BT = sampled(policy, prompts, task.max_completion_tokens)
            rewards = torch.tensor([task.score(*each) for each in zip(rows, drawn.texts, strict=True)])
            sums = {"reward": rewards, "tokens": drawn.mask_BT.sum(1), "centered": centered_BT.sum(1)}
            sums |= {"certain": certain_BT.sum(1), "certain_centered": (centered_BT * certain_BT).sum(1)}
            for name, value_B in sums.items():
                found.setdefault(name, []).append(value_B.double().view(-1, GROUP))
    return {name: torch.cat(values) for name, values in found.items()}


def at(count: int, sums: dict[str, Tensor]) -> dict[str, float]:
    """Drift and authority where `count` problems share a reward, over random partitions of problems and of samples."""
    generator = torch.Generator().manual_seed(0)
    problems = len(sums["reward"]) // count * count
    drift = authority = 0.0
    for _ in range(PARTITIONS):
        rows_P1 = torch.randperm(len(sums["reward"]), generator=generator)[:problems, None]
        samples_PG = torch.rand(problems, GROUP, generator=generator).argsort(1)
        mine = {name: value[rows_P1, samples_PG] for name, value in sums.items()}
        shared_RG = mine["reward"].view(-1, count, GROUP).mean(1)
        advantages_PG = group_advantages(shared_RG).repeat_interleave(count, 0)
        drift += float((advantages_PG * mine["centered"]).sum() / mine["tokens"].sum()) / PARTITIONS
        chosen = (advantages_PG.abs() * mine["certain_centered"]).sum() / mine["certain"].sum()
        authority += float(chosen) / PARTITIONS
    tokens = count * float(sums["tokens"].mean())
    return {"problems": count, "tokens": tokens, "drift": drift, "authority": authority, "ratio": authority / drift}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sums = measured(options.problems, options.seed)
    rows = [at(count, sums) for count in COUNTS]
    for row in rows:
        print(row)
    given = {"group": GROUP, "sampled_problems": options.problems, "seed": options.seed}
    write_json(HERE / "authority.json", {"environment": environment(), **given, "rows": rows})


if __name__ == "__main__":
    main()
