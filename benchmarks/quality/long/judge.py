"""Judge what the queue's runs kept on all held-out problems: `python benchmarks/quality/long/judge.py wide --runs DIR`.

A run judges itself on 400 problems, where one standard error of greedy is 0.025. Countdown over numbers up to 20 has thousands
that are held out. Each checkpoint that a run kept is judged on them greedily and in 16 tries; the rows go into `judged.json`,
and those that are there are passed over. How often each problem was solved stays in the run's folder: what an arm gains over
plain GRPO of the same seed and step is told with the interval of the differences over problems.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))

from common.rows import earlier, environments
from results import SEEDS, taken
from scores import PLAIN
from studies import ARMS, POLICIES, Case

from entrostat.models import load_policy
from entrostat.run.compare import interval
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


def judge(kept: Path, task: Task, problems: list[Problem]) -> tuple[dict[str, float], dict[str, Sequence[int]]]:
    """Greedy, avg, pass@k, always and never of one kept policy, at temperature 1 but for greedy; and what of each problem was
    right, greedily and in how many of 16 tries.
    """
    policy = load_policy(str(kept))
    found: dict[str, float] = {}
    right: dict[str, Sequence[int]] = {}
    for temperature, name in ((0.0, "greedy"), (1.0, "sampled")):
        result = evaluate(
            policy.model, policy.tokenizer, task, problems, samples=SAMPLES, ks=(1, SAMPLES), temperature=temperature
        )
        found |= named(result, temperature=temperature if temperature == 0 else None)
        right[name] = result.correct
    return {name: round(value, 4) for name, value in found.items()}, right


def above(own: dict[str, Sequence[int]], plain: dict[str, Sequence[int]]) -> dict[str, dict[str, float]]:
    """What a policy solves more than plain GRPO's: mean and half of the 95 % interval of the differences over problems."""
    solved: dict[str, list[float]] = {
        "greedy": [a - b for a, b in zip(own["greedy"], plain["greedy"], strict=True)],
        f"avg@{SAMPLES}": [(a - b) / SAMPLES for a, b in zip(own["sampled"], plain["sampled"], strict=True)],
        f"pass@{SAMPLES}": [(a > 0) - (b > 0) for a, b in zip(own["sampled"], plain["sampled"], strict=True)],
    }
    found = {name: interval(differences) for name, differences in solved.items()}
    return {name: {key: round(each[key], 4) for key in ("mean", "half_width")} for name, each in found.items()}


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
            scores, right = judge(kept, task, posed)
            row |= {"problems": len(posed), "scores": scores}
            write_json(each_problem(options.runs, case, row["step"]), right)
            plain = each_problem(options.runs, Case(PLAIN, case.seed, case.policy), row["step"])
            if case.arm != PLAIN and plain.exists():  # plain GRPO is the first of the arms
                row["above plain"] = above(right, json.loads(plain.read_text()))
            print(json.dumps(row), flush=True)
            write(record, row)


def each_problem(runs: Path, case: Case, step: int) -> Path:
    """The file of what a kept policy solved, problem by problem."""
    return runs / case.name / f"judged-{step}.json"


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
