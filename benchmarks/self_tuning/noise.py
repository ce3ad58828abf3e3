"""How noisy a batch's mean entropy is, and where that comes from: `python benchmarks/self_tuning/noise.py` writes noise.json.

A batch of P prompts with G completions each measures the policy's mean entropy with the variance (between + within / G) / P,
where `between` is the variance from prompt to prompt and `within` that of one prompt's completions. Both are estimated from
several completions of every prompt, of a ratio of sums (entropy over tokens), by linearisation; for the policy at its start and,
where the study has been run, for the one brought to half of its initial entropy. The tiny policy's problems are drawn as if
from an endless supply; SmolLM2 has the same ones on every step, so that what lies between them is no noise.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import torch
from common.batch import sampled
from common.smollm2 import TASK
from safetensors.torch import load_file

from entrostat.models import load_policy
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.tasks import load_task

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Sample:
    """What is drawn from a policy, the shapes of batches to tell the noise of, and whether problems come again every step."""

    task: tuple[str, dict[str, Any]]
    prompts: int
    completions: int
    batches: tuple[tuple[int, int], ...]
    same_problems: bool = False


SAMPLES = {
    "tiny": Sample(("countdown", {}), 512, 8, ((128, 8), (192, 4), (384, 2), (768, 1))),
    "smollm2": Sample(TASK, 16, 32, ((16, 4), (16, 8), (16, 16)), same_problems=True),
}


def measure(model: str, weights: Path | None) -> dict[str, Any]:
    """Mean entropy [nats], its two variances [nats^2], and the relative standard deviation of batches of several shapes."""
    drawn = SAMPLES[model]
    (name, options), (prompts, completions) = drawn.task, (drawn.prompts, drawn.completions)
    policy, task = load_policy(model), load_task(name, **options)
    if weights is not None:
        policy.model.load_state_dict(load_file(weights), strict=model == "tiny")  # SmolLM2's head is its embedding
    stats, mask_BT, _ = sampled(policy, task, prompts, completions, ("entropy",))
    sums = (stats.need("entropy") * mask_BT).sum(1).double().view(prompts, completions)
    tokens = mask_BT.sum(1).double().view(prompts, completions)
    mean = sums.sum() / tokens.sum()
    off = (sums - mean * tokens) / tokens.mean()
    within = off.var(1).mean()
    between = off.mean(1).var() - within / completions
    felt = 0 if drawn.same_problems else between
    relative = {f"{p} x {g}": round((((felt + within / g) / p).sqrt() / mean).item(), 4) for p, g in drawn.batches}
    return {
        "entropy": round(mean.item(), 4),
        "between": between.item(),
        "within": within.item(),
        "relative_deviation_of_a_batch": relative,
    }


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for model in SAMPLES:
        found[model] = {"start": measure(model, None)}
        trained = HERE / "runs" / model / "flow-self-tuned-0.50-seed0" / "checkpoints"
        if weights := sorted(trained.glob("checkpoint-*/model.safetensors")):
            found[model]["half of the initial entropy"] = measure(model, weights[-1])
        print(model, {at: value["relative_deviation_of_a_batch"] for at, value in found[model].items()}, flush=True)
    write_json(HERE / "noise.json", {"environment": environment(), **found})


if __name__ == "__main__":
    main()
