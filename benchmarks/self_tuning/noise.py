"""How noisy a batch's mean entropy is, and where that comes from: `python benchmarks/self_tuning/noise.py` writes noise.json.

A batch of P prompts with G completions each measures the policy's mean entropy with the variance (between + within / G) / P,
where `between` is the variance from prompt to prompt and `within` that of one prompt's completions. Both are estimated on 512
prompts x 8 completions, for the policy at its start and, where the study has been run, for the one brought to half of its
initial entropy. Of a ratio of sums (entropy over tokens), by linearisation; problems are drawn as if from an endless supply.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import torch
from common.batch import sampled
from safetensors.torch import load_file

from entrostat.models import load_policy
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.tasks import load_task

HERE = Path(__file__).parent
TRAINED = HERE / "runs" / "tiny" / "flow-self-tuned-0.50-seed0" / "checkpoints"
PROMPTS, COMPLETIONS = 512, 8
BATCHES = ((128, 8), (192, 4), (384, 2), (768, 1))


def measure(weights: Path | None) -> dict[str, Any]:
    """Mean entropy [nats], its two variances [nats^2], and the relative standard deviation of batches of several shapes."""
    policy, task = load_policy("tiny"), load_task("countdown")
    if weights is not None:
        policy.model.load_state_dict(load_file(weights))
    stats, mask_BT, _ = sampled(policy, task, PROMPTS, COMPLETIONS, ("entropy",))
    sums = (stats.need("entropy") * mask_BT).sum(1).double().view(PROMPTS, COMPLETIONS)
    tokens = mask_BT.sum(1).double().view(PROMPTS, COMPLETIONS)
    mean = sums.sum() / tokens.sum()
    off = (sums - mean * tokens) / tokens.mean()
    within = off.var(1).mean()
    between = off.mean(1).var() - within / COMPLETIONS
    relative = {f"{p} x {g}": round((((between + within / g) / p).sqrt() / mean).item(), 4) for p, g in BATCHES}
    return {
        "entropy": round(mean.item(), 4),
        "between": between.item(),
        "within": within.item(),
        "relative_deviation_of_a_batch": relative,
    }


def main() -> None:
    torch.set_num_threads(1)
    record = {"environment": environment(), "start": measure(None)}
    if found := sorted(TRAINED.glob("checkpoint-*/model.safetensors")):
        record["half of the initial entropy"] = measure(found[-1])
    write_json(HERE / "noise.json", record)
    print({name: value["relative_deviation_of_a_batch"] for name, value in record.items() if name != "environment"})


if __name__ == "__main__":
    main()
