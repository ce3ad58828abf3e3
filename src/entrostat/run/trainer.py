"""TRL's trainer as a run needs it: under control, exactly resumable, with the run's problems in their order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from entrostat.run.config import RunConfig
from entrostat.run.folder import CHECKPOINTS
from entrostat.tasks.base import Problem


def build_trainer(
    config: RunConfig,
    folder: Path,
    policy: Any,
    task: Any,
    method: Any,
    problems: Sequence[Problem],
    on_prompts: Callable[..., None] | None = None,
    changed: Collection[str] = (),
) -> Any:
    """TRL's trainer under control, with the prompts of the whole run in the order in which it takes them.

    Args:
        problems: those of `training_problems`.
        on_prompts: takes what is predicted for each prompt.
        changed: names of settings that differ from those of the checkpoint to go on from.
    """
    from datasets import Dataset
    from transformers import PrinterCallback

    from entrostat.run.arguments import prompts_needed, trl_arguments
    from entrostat.run.exact import exactly_resumable
    from entrostat.run.identity import identity

    arguments = trl_arguments(config, folder / CHECKPOINTS)
    needed = prompts_needed(arguments, config.steps)
    # One pass over an explicit list, never a second epoch: TRL's sampler would not shuffle it alike after a resume.
    rows = [index % len(problems) for index in range(needed)]
    kept = identity(config, problems, policy.model)
    trainer: Any = exactly_resumable(_controlled_class(config, method, on_prompts, changed), kept, changed)(
        model=policy.model,
        processing_class=policy.tokenizer,
        reward_funcs=_reward(task, problems),
        train_dataset=Dataset.from_dict({"prompt": [problems[i].prompt for i in rows], "problem": rows}),
        args=arguments,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _controlled_class(
    config: RunConfig, method: Any, on_prompts: Callable[..., None] | None, changed: Collection[str]
) -> type:
    """TRL's class for the algorithm, with predictions where they are asked for, under control."""
    from trl import GRPOTrainer, RLOOTrainer

    from entrostat.hosts.trl.prediction import predicted
    from entrostat.hosts.trl.trainer import controlled

    base: type = GRPOTrainer if config.algorithm == "grpo" else RLOOTrainer
    if config.predict.every:
        asked = config.predict
        base = predicted(base, asked.every, asked.nodes, asked.visited_states, on_prompts)
    # Under other settings of the method its state is loaded by the run, which knows that they may differ.
    how: Any = "fresh" if any(name.startswith("method.") for name in changed) else "require"
    return controlled(base, method, resume_state=how)


def _reward(task: Any, problems: Sequence[Problem]) -> Callable[..., list[float]]:
    """The task's scores as TRL asks for rewards; it names the metric after the function."""
    from entrostat.tasks import score_all

    def reward(completions: list[str], problem: list[int], log_metric: Any = None, **_: Any) -> list[float]:
        scored = score_all(task, [problems[index] for index in problem], completions)
        answers = sum(map(len, scored.each))
        for reason, count in scored.failed.items() if log_metric else ():
            log_metric(f"scoring/{reason}", count / answers)
        return scored.values

    reward.__name__ = task.name
    return reward


def training_problems(config: RunConfig, folder: Path, task: Any) -> list[Problem]:
    """The problems of the whole run, in order; those of a shorter run are their beginning."""
    from entrostat.run.arguments import prompts_needed, trl_arguments

    needed = prompts_needed(trl_arguments(config, folder / CHECKPOINTS), config.steps)
    problems: list[Problem] = task.problems("train", min(needed, config.train_problems or needed), config.seed)
    return problems
