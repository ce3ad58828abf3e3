"""`entrostat train`: one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from entrostat.run.config import RunConfig


def command(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG.yaml] [key.path=value ...]", help="A configuration file and overrides."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder [default: runs/<time>-<method>].")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")] = False,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder, exactly.")] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="With --resume: what may differ from the run so far (a key, packages.torch, metrics.jsonl); repeatable.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train a policy while its entropy is held where you set it.

    Without arguments: a tiny policy learns countdown on one CPU core, its entropy held at 75 % of its start.

    Keys: model, task, method, algorithm (grpo, rloo), steps, seed, train_problems, threads; eval.every, eval.problems,
    eval.splits, eval.temperatures, eval.samples, eval.ks, eval.batch_size; predict.every, predict.nodes,
    predict.visited_states, predict.prompts; task.OPTION, method.OPTION, and trainer.SETTING for any setting of TRL.
    `entrostat tasks`, `entrostat models` and `entrostat methods` list what there is; docs/train.md explains each.
    """
    from entrostat.cli._settings import for_new_run, for_resumed_run, own_settings
    from entrostat.cli._text import shown
    from entrostat.errors import ConfigError
    from entrostat.run.folder import check_free, default_path

    if allow and not resume:
        raise ConfigError(f"--allow {allow[0]}: is for --resume; a new run takes any setting")
    config = for_resumed_run(resume, out, settings or [], allow or []) if resume else for_new_run(settings or [])
    folder = resume or out or default_path(config.method.name)
    if not (resume or dry_run):
        check_free(folder)  # before the heavy imports

    from entrostat.run.resolve import resolve

    with own_settings(resume):
        config = resolve(config)
    if dry_run:
        typer.echo(shown(config.to_yaml()), nl=False)
        return

    if not _run(config, folder, resume, quiet, allow or []):
        raise typer.Exit(130)


def _run(config: RunConfig, folder: Path, resume: Path | None, quiet: bool, allow: list[str]) -> bool:
    """Train in the folder, and draw what came of it; whether the run has come to its end."""
    from entrostat.cli._progress import progress_for
    from entrostat.report.figure import entropy_figure
    from entrostat.run.failure import ways_on
    from entrostat.run.folder import FIGURE, claim
    from entrostat.run.record import Run
    from entrostat.run.train import train

    with claim(folder, resume=resume is not None):
        try:
            with progress_for(config, quiet) as progress:
                outcome = train(config, folder, progress, allow)
            entropy_figure([Run.load(folder)], folder / FIGURE)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped at once: {ways_on(folder)}") from None
        progress.close(outcome)
    return outcome.finished
