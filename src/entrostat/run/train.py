"""One training run on one machine: a policy, a task, TRL's trainer under entropy control, and a folder that tells it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from entrostat.errors import ConfigError, DataError
from entrostat.run import checkpoints, fits
from entrostat.run.config import RunConfig
from entrostat.run.folder import (
    CHANGES,
    CHECKPOINTS,
    CONFIG,
    ENVIRONMENT,
    METRICS,
    PROMPTS,
    SUMMARY,
    TOKENS,
    MetricsFile,
    read_metrics,
    saving,
    write_json,
    write_text,
)
from entrostat.run.resolve import checked_task
from entrostat.run.trainer import build_trainer, training_problems


class Progress(Protocol):
    """Who is told how a run goes."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """An optimizer step has been recorded; step 0 is the evaluation before the first."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: at which step, and whether that was its last; `summary` is empty where it was not."""

    folder: Path
    step: int
    finished: bool
    summary: Mapping[str, Any]


def train(config: RunConfig, folder: Path, progress: Progress, allow: Collection[str] = ()) -> Outcome:
    """Train in a claimed folder: from the start, or on from its newest whole checkpoint.

    Args:
        config: resolved.
        folder: held by `folder.claim`.
        allow: names of what may differ from the run so far: dotted settings, packages, `metrics.jsonl`.

    Raises:
        ConfigError: a setting is wrong, or differs from the run so far and is not allowed.
        RunFailed: training broke off; the message says at which step and why, and where the traceback is.
    """
    import torch

    from entrostat.models import load_policy
    from entrostat.run.environment import environment
    from entrostat.run.quiet import quiet

    found = checkpoints.find(folder / CHECKPOINTS)
    _say_what_is_skipped(found, folder, progress)
    if found.step >= config.steps:
        if (folder / SUMMARY).exists():
            raise ConfigError(f"{folder} has finished its {config.steps} steps: to go on, resume with more steps=...")
        return _conclude(config, folder, found.step)  # it was stopped between its last checkpoint and its summary
    if found.newest is not None and METRICS not in allow:
        check_metrics(folder / METRICS, found.step)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    with quiet():
        policy, task = load_policy(config.model), checked_task(config)
        return _train(config, folder, progress, policy, task, found, allow, environment())


def _say_what_is_skipped(found: checkpoints.Found, folder: Path, progress: Progress) -> None:
    """Name what is passed over; refuse to start over where a checkpoint is damaged and none is whole."""
    for each in found.skipped:
        progress.note(f"skipped {each.path.name}: {each.why}")
    if found.newest is not None:
        return
    damaged = [each for each in found.skipped if not each.broken_off]
    if damaged:
        reasons = "; ".join(f"{each.path.name}: {each.why}" for each in damaged)
        raise ConfigError(
            f"no checkpoint in {folder} is whole ({reasons}): repair one, or start a new run with another --out"
        )
    if found.skipped or (folder / METRICS).exists():
        progress.note("there is no whole checkpoint: starting over from step 0")


def check_metrics(path: Path, step: int) -> None:
    """Refuse to go on from `step` with metrics that do not hold every step before it."""
    how = f"put the file back, or go on without those lines with --allow {METRICS}"
    if not path.exists():
        raise ConfigError(f"{path} is missing, which held {step} steps: {how}")
    try:
        have = {row["step"] for row in read_metrics(path)}
    except (DataError, ValueError) as error:
        raise ConfigError(f"{error}: {how}") from error
    lacking = [each for each in range(1, step + 1) if each not in have]
    if lacking:
        some = ", ".join(map(str, lacking[:3])) + (", ..." if len(lacking) > 3 else "")
        raise ConfigError(f"{path} lacks {len(lacking)} of the {step} steps before the checkpoint (step {some}): {how}")


def _train(
    config: RunConfig,
    folder: Path,
    progress: Progress,
    policy: Any,
    task: Any,
    found: checkpoints.Found,
    allow: Collection[str],
    environment: dict[str, Any],
) -> Outcome:
    from entrostat.core.specification import build_method
    from entrostat.run.arguments import BUILT_IN
    from entrostat.run.callbacks import Evaluate, Record, StopOnSignal
    from entrostat.run.failure import explained

    method = build_method(config.method.name, config.method.options)
    problems = training_problems(config, folder, task)
    if config.model in BUILT_IN:
        fits.alphabet(problems, config)
    for note in (fits.unused_to_several(config), fits.earned_by_echo(task, problems)):
        if note:
            progress.note(note)
    changed = _changes(config, found, problems, policy, progress, allow)
    _write_settings(config, folder, environment, found.step, changed)  # not before all of this fits together
    done = found.step if found.newest else -1
    prompts = MetricsFile(folder / PROMPTS, done) if config.predict.every and config.predict.prompts else None
    metrics = MetricsFile(folder / METRICS, done)
    stop = StopOnSignal(progress.note)
    trainer: Any = None
    try:
        with explained(
            config,
            folder,
            lambda: trainer.state.global_step if trainer else found.step,
            starting=lambda: trainer is None,
        ):
            trainer = build_trainer(
                config, folder, policy, task, method, problems, prompts.append if prompts else None, changed
            )
            if config.tokens.every and trainer.accelerator.is_main_process:
                trainer.entropy_control.recorder = _recorder(config, folder, policy, max(done, 0))
            if config.eval.problems:
                measure = _evaluation(config, policy, task, trainer.entropy_control)
                trainer.add_callback(Evaluate(trainer, measure, config.eval.every))
            trainer.add_callback(stop)
            trainer.add_callback(Record(metrics, progress.step))
            if found.newest is not None:
                progress.note(f"going on from step {found.step}")
            with stop.listening():
                trainer.train(resume_from_checkpoint=str(found.newest) if found.newest else None)
    finally:
        metrics.close()
        if prompts:
            prompts.close()
    step = trainer.state.global_step
    return _conclude(config, folder, step) if step >= config.steps else Outcome(folder, step, False, {})


def _changes(
    config: RunConfig, found: checkpoints.Found, problems: Any, policy: Any, progress: Progress, allow: Collection[str]
) -> dict[str, Any]:
    """What differs from the checkpoint and is allowed, said; `ConfigError` for what is not allowed."""
    from entrostat.run import identity

    if found.newest is None:
        return {}
    before = identity.read(found.newest)
    if before is None:
        progress.note(f"{found.newest.name} does not say what it was made with: nothing is compared")
        return {}
    changed = identity.changes(before, config, problems, policy.model)
    identity.refuse(changed, allow, found.newest.name)
    for name, (old, new) in changed.items():
        progress.note(f"changed from step {found.step + 1} on: {name}, from {old!r} to {new!r}")
    return changed


def _write_settings(
    config: RunConfig, folder: Path, environment: Mapping[str, Any], step: int, changed: Mapping[str, Any]
) -> None:
    """What the run goes by from `step` on; a summary of an earlier end is no longer true."""
    import torch

    with saving(folder):
        write_text(folder / CONFIG, config.to_yaml())
        write_json(folder / ENVIRONMENT, {**environment, "threads": torch.get_num_threads()})
        (folder / SUMMARY).unlink(missing_ok=True)
    if changed:
        with (folder / CHANGES).open("a") as file:
            file.write(json.dumps({"step": step, "changed": changed}, default=str) + "\n")


def _recorder(config: RunConfig, folder: Path, policy: Any, done: int) -> Any:
    from entrostat.attribution import TokenRecorder

    asked = config.tokens
    decode = policy.tokenizer.decode
    return TokenRecorder(
        folder / TOKENS, asked.every, asked.completions, asked.length, asked.megabytes, decode, step=done
    )


def _conclude(config: RunConfig, folder: Path, step: int) -> Outcome:
    """Write the summary of a finished run from what its folder holds."""
    from entrostat.core.specification import build_method
    from entrostat.methods import fingerprint
    from entrostat.run.record import Run
    from entrostat.run.summary import summarize

    metrics = Run.load(folder).metrics
    method = build_method(config.method.name, config.method.options)
    identity = {"method": config.method.name, "fingerprint": fingerprint(method), "seed": config.seed}
    summary = identity | summarize(metrics) | {"train_seconds": round(metrics[-1]["elapsed"], 1)}
    write_json(folder / SUMMARY, summary)
    return Outcome(folder, step, True, summary)


def _evaluation(config: RunConfig, policy: Any, task: Any, control: Any) -> Callable[[], dict[str, float]]:
    """What is measured of the policy at each evaluation: every split at every temperature, by the name of the metric."""
    from entrostat.tasks.evaluate import evaluate, named

    asked = config.eval
    problems = {split: task.problems(split, asked.problems, config.seed) for split in asked.splits}
    length, training = config.trainer["max_completion_length"], config.trainer["temperature"]

    def run() -> dict[str, float]:
        found: dict[str, float] = {}
        for split, of_split in problems.items():
            for temperature in asked.temperatures:
                result = evaluate(
                    policy.model,
                    policy.tokenizer,
                    task,
                    of_split,
                    samples=asked.samples,
                    ks=asked.ks,
                    temperature=training * control.temperature if temperature == "training" else temperature,
                    max_new_tokens=length,
                    batch_size=asked.batch_size,
                    seed=config.seed,
                )
                found |= named(result, split, None if temperature == "training" else temperature)
        return found

    return run
