"""One run of `entrostat train` in which something changes in the middle:

    python benchmarks/disturbances/disturbed.py KIND STEP [key.path=value ...] --out FOLDER

KIND is what changes at optimizer step STEP: `learning_rate` (doubled), `updates` (four on each batch from then on),
`temperature` (from 1.0 to 1.2), `task` (operands from 1 to 9 become 5 to 9).
"""

from __future__ import annotations

import argparse
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
from entrostat.tasks.countdown import Countdown

WARMER = 1.2
OTHER_TASK = Countdown(low=5)


class Switched(Countdown):
    """Problems of one task first, then of another; a problem says itself how it is scored."""

    def __init__(self, first: Countdown, prompts: int, then: Countdown) -> None:
        super().__init__(**{k: getattr(first, k) for k in ("numbers", "low", "high", "max_target", "eval_share")})
        object.__setattr__(self, "parts", (first, prompts, then))

    @property
    def max_completion_tokens(self) -> int:
        first, _, then = self.parts  # type: ignore[attr-defined]
        return max(first.max_completion_tokens, then.max_completion_tokens)

    def problems(self, split: Any, count: int, seed: int) -> Any:
        first, prompts, then = self.parts  # type: ignore[attr-defined]
        return first.problems(split, prompts, seed) + then.problems(split, count - prompts, seed)


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

    from entrostat.run.environment import environment
    from entrostat.run.method import build_method
    from entrostat.run.quiet import quiet

    config = resolve(load_config(None, words))
    torch.set_num_threads(config.threads or 1)
    torch.manual_seed(config.seed)
    with claim(folder), quiet():
        task: Any = Countdown()
        if kind == "task":
            per_step = config.trainer["per_device_train_batch_size"] // config.trainer["num_generations"]
            task = Switched(Countdown(), step * per_step, OTHER_TASK)
            length = {**config.trainer, "max_completion_length": task.max_completion_tokens}
            config = config.model_copy(update={"trainer": length})
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
