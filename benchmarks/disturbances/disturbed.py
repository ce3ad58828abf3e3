"""One run of `entrostat train` in which something changes in the middle:

    python benchmarks/disturbances/disturbed.py KIND STEP [key.path=value ...] --out FOLDER

KIND is what changes at optimizer step STEP: `learning_rate` (doubled), `updates` (four on each batch from then on),
`temperature` (from 1.0 to 1.2), `task` (countdown: operands from 1 to 9 become 5 to 9; sums: two digits in place of one).
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from trl.trainer.utils import add_fused_lm_head

from entrostat.models import load_policy
from entrostat.run.callbacks import Record
from entrostat.run.config import load_config
from entrostat.run.folder import CONFIG, ENVIRONMENT, METRICS, SUMMARY, MetricsFile, claim, write_json, write_text
from entrostat.run.record import Run
from entrostat.run.summary import summarise
from entrostat.run.train import build_trainer, resolve
from entrostat.tasks import Problem, Split, Task, load_task

WARMER = 1.2
OTHER_TASK = {"countdown": {"low": 5}, "rg:chain_sum": {"min_digits": 2, "max_digits": 2}}
"""Options of a task that become others."""


class Switched:
    """Problems of one task first, `prompts` in all, then of another; of each `distinct` different ones, over and over.

    A problem says itself whose it is.
    """

    def __init__(self, first: Task, then: Task, prompts: int, distinct: int | None) -> None:
        self.parts, self.prompts, self.distinct = (first, then), prompts, distinct
        self.name, self.temperature = first.name, first.temperature
        self.max_completion_tokens = max(part.max_completion_tokens for part in self.parts)

    def problems(self, split: Split, count: int, seed: int) -> list[Problem]:
        rows: list[Problem] = []
        for part, (task, wanted) in enumerate(zip(self.parts, (self.prompts, count - self.prompts), strict=True)):
            drawn = task.problems(split, min(wanted, self.distinct or wanted), seed)
            marked = [replace(problem, meta=problem.meta | {"part": part}) for problem in drawn]
            rows += itertools.islice(itertools.cycle(marked), wanted)
        return rows

    def score(self, problem: Problem, completion: str) -> float:
        return self.parts[problem.meta["part"]].score(problem, completion)


class Disturbance(TrainerCallback):
    """Changes the running trainer before the step numbered `step`, counted from 0."""

    def __init__(self, trainer: Any, kind: str, step: int) -> None:
        self.trainer, self.kind, self.step = trainer, kind, step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step and self.kind != "task":
            getattr(self, self.kind)()

    def learning_rate(self) -> None:
        for group in self.trainer.optimizer.param_groups:
            group["lr"] *= 2
        scheduler = self.trainer.lr_scheduler
        scheduler.base_lrs = [2 * rate for rate in scheduler.base_lrs]

    def updates(self) -> None:
        self.trainer.num_iterations = 4

    def temperature(self) -> None:
        self.trainer.temperature = self.trainer.generation_config.temperature = WARMER
        add_fused_lm_head(self.trainer.model, temperature=WARMER, outputs=("log_probs", "entropy"))


def main(kind: str, step: int, folder: Path, words: list[str]) -> None:
    import torch

    from entrostat.core.specification import build_method
    from entrostat.run.environment import environment
    from entrostat.run.quiet import quiet

    config = resolve(load_config(None, words))
    torch.set_num_threads(config.threads or 1)
    torch.manual_seed(config.seed)
    with claim(folder), quiet():
        task = load_task(config.task.name, **config.task.options)
        if kind == "task":
            per_step = config.trainer["per_device_train_batch_size"] // config.trainer["num_generations"]
            then = load_task(config.task.name, **config.task.options | OTHER_TASK[config.task.name])
            task = Switched(task, then, step * per_step, config.train_problems)
            length = {**config.trainer, "max_completion_length": task.max_completion_tokens}
            config = config.model_copy(update={"trainer": length, "train_problems": None})
        policy = load_policy(config.model)
        method = build_method(config.method.name, config.method.options)
        trainer = build_trainer(config, folder, policy, task, method)
        metrics = MetricsFile(folder / METRICS, -1)
        trainer.add_callback(Record(metrics, lambda step, row: None))
        trainer.add_callback(Disturbance(trainer, kind, step))
        write_text(folder / CONFIG, config.to_yaml())
        write_json(folder / ENVIRONMENT, environment())
        trainer.train()
        metrics.close()
        rows = Run.load(folder).metrics
        about = {"disturbance": {"kind": kind, "step": step}, "train_seconds": round(rows[-1]["elapsed"], 1)}
        write_json(folder / SUMMARY, about | summarise(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("learning_rate", "updates", "temperature", "task"))
    parser.add_argument("step", type=int)
    parser.add_argument("words", nargs="*", metavar="key.path=value")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quiet", action="store_true", help="there for the studies' runner; nothing is printed anyway")
    given = parser.parse_args()
    main(given.kind, given.step, given.out, given.words)
