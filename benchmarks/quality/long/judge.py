"""Judge what the queue's runs kept on all held-out problems: `python benchmarks/quality/long/judge.py wide --runs DIR`.

A run judges itself on 400 problems, where one standard error of greedy is 0.025. Countdown over numbers up to 20 has thousands
that are held out. Each checkpoint that a run kept is judged on them greedily and in 16 tries; the rows go into `judged.json`,
and those that are there are passed over.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from common.rows import earlier, environments
from results import SEEDS, taken
from studies import ARMS, POLICIES, Case

from entrostat.models import load_policy
from entrostat.run.config import load_config
from entrostat.run.environment import environment
from entrostat.run.folder import CONFIG, write_json
from entrostat.tasks import load_task
from entrostat.tasks.base import Problem, Task
from entrostat.tasks.evaluate import evaluate, named

HERE = Path(__file__).parent
OUT = HERE / "judged.json"
SAMPLES, SEED = 16, 0


def held_out(task: Task) -> list[Problem]:
    """The problems that the task holds out, each once: `problems` repeats itself where it runs out of new ones."""
    count = 1_000
    while len(found := {problem.prompt: problem for problem in task.problems("eval", count, SEED)}) == count:
        count *= 2
    return list(found.values())


def judge(kept: Path, task: Task, problems: list[Problem]) -> dict[str, float]:
    """Greedy, avg, pass@k, always and never of one kept policy, at temperature 1 but for greedy."""
    policy = load_policy(str(kept))
    found: dict[str, float] = {}
    for temperature in (0.0, 1.0):
        result = evaluate(
            policy.model, policy.tokenizer, task, problems, samples=SAMPLES, ks=(1, SAMPLES), temperature=temperature
        )
        found |= named(result, temperature=temperature if temperature == 0 else None)
    return {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy", choices=POLICIES)
    parser.add_argument("--runs", type=Path, default=HERE / "runs", help="where the folders of runs are")
    parser.add_argument("--steps", type=int, nargs="*", help="judge the policies of these steps alone")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    cases = [
        case for arm in ARMS for seed in SEEDS if taken(options.runs / (case := Case(arm, seed, options.policy)).name)
    ]
    problems: dict[str, list[Problem]] = {}
    for case in cases:
        asked = load_config(options.runs / case.name / CONFIG).task
        task = load_task(asked.name, **asked.options)
        if str(asked) not in problems:  # runs of one policy share a task, whose problems take seconds to draw
            problems[str(asked)] = held_out(task)
        posed = problems[str(asked)]
        for kept in sorted((options.runs / case.name / "checkpoints").glob("checkpoint-*")):
            record = earlier(OUT)
            row = {"policy": case.policy, "arm": case.arm, "seed": case.seed, "step": int(kept.name.split("-")[1])}
            if options.steps and row["step"] not in options.steps:
                continue
            if any(row.items() <= each.items() for each in record.get("rows", [])):
                continue
            row |= {"problems": len(posed), "scores": judge(kept, task, posed)}
            print(json.dumps(row), flush=True)
            write(record, row)


def write(record: dict[str, Any], row: dict[str, Any]) -> None:
    """Add a row to the results, in the order of policies, arms, seeds and steps."""
    rows = sorted(
        [*record.get("rows", []), row],
        key=lambda each: ([*POLICIES].index(each["policy"]), ARMS.index(each["arm"]), each["seed"], each["step"]),
    )
    machines = environments([environment()], record.get("environments", []))
    write_json(OUT, {"environments": machines, "rows": rows})


if __name__ == "__main__":
    main()
