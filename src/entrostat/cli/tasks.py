"""`entrostat tasks`: what a policy can learn here."""

from __future__ import annotations

import typer


def command() -> None:
    """List the tasks and their options; with reasoning-gym installed, its data sets too."""
    import inspect

    from entrostat.tasks.countdown import Countdown
    from entrostat.tasks.jsonl import Jsonl
    from entrostat.tasks.reasoning_gym import EVALUATED, ReasoningGym

    kinds = {"countdown": Countdown, "PATH.jsonl": Jsonl, "rg:DATASET": ReasoningGym}
    for name, kind in kinds.items():
        words = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
        typer.echo(f"{name}\n  {words}\n  options: {', '.join(_options(kind))}")
    typer.echo(
        "\nany of them\n  With N problems in each prompt, which one response answers; its reward is the share that it solves.\n"
        "  options: problems_per_prompt=1"
    )
    try:
        from reasoning_gym.factory import DATASETS
    except ImportError:
        typer.echo("\nDATASET: install reasoning-gym with `pip install entrostat[train]` to list them")
        return
    typer.echo(f"\nDATASET: {', '.join(sorted(set(DATASETS) - EVALUATED))}")
    typer.echo(f"\nonly with task.run_answers=true, since they run the answer: {', '.join(sorted(EVALUATED))}")


def _options(kind: type) -> list[str]:
    import inspect

    parameters = [p for p in inspect.signature(kind).parameters.values() if p.default is not inspect.Parameter.empty]
    return [f"{p.name}={p.default}" for p in parameters]
