"""What temperature alone does: `python benchmarks/frontier/reference.py` after run.py, writes reference.json.

Two curves without any control, to see the others against: the untrained policy sampled cooler, and plain GRPO's last policies
sampled hotter. An actuator earns its keep above the second; what lies between the two is what was learnt.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

import torch
from common.runner import finished
from results import interval
from safetensors.torch import load_file
from studies import PLAIN, SEEDS, Case

from entrostat.models import load_policy
from entrostat.models.start import measure_start
from entrostat.run.environment import environment
from entrostat.run.folder import write_json
from entrostat.tasks import load_task

HERE = Path(__file__).parent
COOLER = (0.4, 0.55, 0.7, 0.85, 1.0)
HOTTER = (1.0, 1.25, 1.5, 1.75, 2.0)
PROBLEMS, SAMPLES = 200, 8


def curve(policies: dict[int, Any], temperatures: tuple[float, ...]) -> list[dict[str, Any]]:
    """Entropy, avg@8 and pass@8 of every policy at every temperature, over seeds; None is the untrained policy."""
    task = load_task("countdown")
    points = []
    for temperature in temperatures:
        found: dict[str, list[float]] = {"entropy": [], "avg@8": [], "pass@8": []}
        for seed, weights in policies.items():
            policy = load_policy("tiny")
            if weights is not None:
                policy.model.load_state_dict(weights)
            problems = task.problems("eval", PROBLEMS, seed)
            start = measure_start(
                policy.model, policy.tokenizer, task, problems, samples=SAMPLES, temperature=temperature, seed=seed
            )
            for key, value in zip(found, (start.entropy, start.accuracy, start.solved), strict=True):
                found[key].append(value)
        points.append({"temperature": temperature, **{key: interval(values) for key, values in found.items()}})
        print(json.dumps(points[-1]), flush=True)
    return points


def main() -> None:
    torch.set_num_threads(1)
    runs = HERE / "runs"
    plain = [case for seed in SEEDS if finished(runs, case := Case(PLAIN, None, seed))]
    trained = {
        case.seed: load_file(next((runs / case.name / "checkpoints").glob("*/model.safetensors"))) for case in plain
    }
    record = {
        "initial policy, cooler": curve({seed: None for seed in SEEDS}, COOLER),
        "plain GRPO, hotter": curve(trained, HOTTER) if trained else [],
    }
    write_json(HERE / "reference.json", {"environment": environment(), "curves": record})


if __name__ == "__main__":
    main()
