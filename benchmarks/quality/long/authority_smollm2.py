"""Authority over drift of SmolLM2-135M with long answers: `python benchmarks/quality/long/authority_smollm2.py`.

The model goes on after a one-digit sum for up to 512 tokens; an answer of T tokens earns 1 where the sum's result is one of the
numbers in it. Drift and authority as in `authority.py`: mean(A D) over all tokens, mean(|A| D) over those with p > 0.95.
Resumable, batch by batch. Four problems take ten minutes of a core.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

import torch
from authority import sampled
from common.smollm2 import TASK
from torch import Tensor

from entrostat.lab.tabular import group_advantages
from entrostat.models import load_policy
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.tasks import load_task
from entrostat.tasks.sampling import undisturbed

HERE = Path(__file__).parent
GROUP, LENGTHS, TOGETHER, AT_ONCE = 8, (32, 64, 128, 256, 512), 4, 4
Sums = dict[str, dict[str, float]]


@torch.no_grad()
def groups_of(policy: Any, problems: Sequence[Any], seed: int) -> list[Sums]:
    """Each problem's sums over its answers, at each length: of A D and tokens, and of |A| D and tokens with p > 0.95."""
    with undisturbed(policy.model, seed):
        prompts = [problem.prompt for problem in problems for _ in range(GROUP)]
        drawn, centered_BT, certain_BT = sampled(policy, prompts, LENGTHS[-1], AT_ONCE)
    completion_BT, centered_BT = drawn.ids_BS[:, drawn.prompt_length :], centered_BT.double()
    found = []
    for index, problem in enumerate(problems):
        rows = slice(index * GROUP, (index + 1) * GROUP)
        texts = {n: policy.tokenizer.batch_decode(completion_BT[rows, :n], skip_special_tokens=True) for n in LENGTHS}
        rewards = {n: [float(problem.answer in re.findall(r"\d+", text)) for text in texts[n]] for n in LENGTHS}
        found.append(
            {
                str(n): _sums(rewards[n], drawn.mask_BT[rows, :n], centered_BT[rows, :n], certain_BT[rows, :n])
                for n in LENGTHS
            }
        )
    return found


def _sums(rewards: list[float], mask: Tensor, centered: Tensor, certain: Tensor) -> dict[str, float]:
    rewards_B = torch.tensor(rewards)
    advantages_B1 = group_advantages(rewards_B[None].double()).view(-1, 1)
    sums = {
        "reward": rewards_B.mean(),
        "tokens": mask.sum(),
        "drift": (advantages_B1 * centered).sum(),
        "certain": certain.sum(),
        "authority": (advantages_B1.abs() * centered * certain).sum(),
    }
    return {name: float(value) for name, value in sums.items()}


def at(length: str, groups: list[Sums]) -> dict[str, Any]:
    """Drift and authority per token at one length; the drift with its standard error over problems (jackknife)."""
    rows = [group[length] for group in groups]

    def ratio(over: str, below: str, left_out: int | None = None) -> float:
        kept = [row for i, row in enumerate(rows) if i != left_out]
        return sum(row[over] for row in kept) / sum(row[below] for row in kept)

    drift, authority, n = ratio("drift", "tokens"), ratio("authority", "certain"), len(rows)
    error = stdev([ratio("drift", "tokens", i) for i in range(n)]) * (n - 1) / n**0.5
    return {
        "length": int(length),
        "tokens": sum(row["tokens"] for row in rows) / n / GROUP,
        "reward": sum(row["reward"] for row in rows) / n,
        "certain": sum(row["certain"] for row in rows) / sum(row["tokens"] for row in rows),
        "drift": drift,
        "drift_error": error,
        "authority": authority,
        "ratio": authority / abs(drift),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    policy, out = load_policy("smollm2"), HERE / "authority_smollm2.json"
    posed = load_task(TASK[0], **TASK[1]).problems("train", options.problems, options.seed)
    record = json.loads(out.read_text()) if out.exists() else {}
    if record.get("seed") != options.seed:
        record = {"seed": options.seed, "group": GROUP, "groups": []}
    for first in range(len(record["groups"]), options.problems, TOGETHER):
        record["groups"] += groups_of(policy, posed[first : first + TOGETHER], options.seed * 10_000 + first)
        record |= {"environment": environment(), "rows": [at(str(n), record["groups"]) for n in LENGTHS]}
        write_json(out, record)
        print(len(record["groups"]), record["rows"][-1], flush=True)


if __name__ == "__main__":
    main()
