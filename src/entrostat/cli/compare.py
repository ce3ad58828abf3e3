"""`entrostat compare`: several methods from equal starts, over seeds, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from entrostat.run.compare import Case

FIGURE = "comparison.png"
METHODS = "observe,hold"


def command(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG.yaml] [key.path=value ...]", help="As for train; what all runs share."),
    ] = None,
    methods: Annotated[str, typer.Option(help="Names, separated by commas.")] = METHODS,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="'[NAME:] METHOD key=value ...'", help="One more method, with options; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method; seeds count from the configuration's.")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Folder of all runs; one that exists goes on, more methods and seeds join it.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs side by side, one thread each.")] = 2,
) -> None:
    """Compare methods from the same policy, problems and seeds: a table with 95 % intervals, paired by seed, and curves.

    If it was stopped, with Ctrl-C or otherwise, the same command goes on where it was.
    """
    from entrostat.cli._children import check_installed
    from entrostat.cli._settings import check_parts, for_new_run
    from entrostat.cli._text import console as make_console
    from entrostat.errors import ConfigError
    from entrostat.run.compare import Arm, cases, check_settings, collect
    from entrostat.run.folder import claim, default_path

    words = settings or []
    if any(word.startswith(("method", "seed=")) for word in words):
        raise ConfigError("method and seed differ from run to run: give them with --methods, --method and --seeds")
    arms = [Arm.parse(text) for text in [*filter(None, map(str.strip, methods.split(","))), *(method or [])]]
    if not arms:
        raise ConfigError(f"--methods {methods!r}: names no method: give some, such as observe,hold")
    base = for_new_run(words)
    for arm in arms:  # a wrong option ends this before the first run
        check_parts(for_new_run([*words, *arm.settings]))
    check_installed()
    folder = out or default_path("compare")
    console = make_console()
    with claim(folder):
        check_settings(folder, base.model_dump(exclude={"method", "seed"}))
        wanted = cases(folder, arms, range(base.seed, base.seed + seeds))
        left = [case for case in wanted if not case.finished]
        console.print(f"{len(wanted)} runs of {base.steps} steps, {len(wanted) - len(left)} of them finished already")
        _run_all(console, left, words, workers, base.steps)
        record = collect(folder, arms)
        _figure(folder, record)
    console.print(_table(record))
    console.print(f"figure: {folder / FIGURE}\nfolder: {folder}", highlight=False, markup=False)


def _run_all(console: Any, left: Sequence[Case], words: Sequence[str], workers: int, steps: int) -> None:
    """The runs, some at a time; the first that fails ends all, each with a checkpoint to go on from."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from entrostat.cli._children import Child, follow

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bars:
        shown: dict[str, Any] = {}

        def start(name: str, case: Case) -> Child:
            shown[name] = bars.add_task(name, total=steps)
            told = [*words, "threads=1", f"seed={case.seed}", *case.arm.settings]
            return Child(case.folder, told, resume=case.begun)

        names = {f"{case.arm.name}, seed {case.seed}": case for case in left}
        with closing(follow({name: partial(start, name, case) for name, case in names.items()}, workers)) as news:
            for name, row in news:
                if row is None:
                    bars.remove_task(shown[name])
                else:
                    bars.update(shown[name], completed=row["step"])


def _figure(folder: Path, record: dict[str, Any]) -> None:
    """Each method's mean over its seeds."""
    from entrostat.report.figure import entropy_figure
    from entrostat.run.compare import mean_run
    from entrostat.run.record import Run

    means = {
        name: mean_run([Run.load(folder / name / f"seed-{seed}") for seed in arm["seeds"]])
        for name, arm in record["arms"].items()
    }
    if means:
        entropy_figure(list(means.values()), folder / FIGURE, labels=list(means))


def _table(record: dict[str, Any]) -> Any:
    """A column a method: mean ± half-width, and below it the difference to the first method, paired by seed."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from entrostat.cli._closing import TRIES
    from entrostat.cli._text import shown
    from entrostat.run.summary import shown_once

    arms = record["arms"]
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        caption="mean ± half of the 95 % interval over seeds; Δ: minus the first method, paired",
    )
    table.add_column("")
    for name, arm in arms.items():
        table.add_column(f"{shown(name)} ({len(arm['seeds'])})", justify="right")
    means = [{key: each["mean"] for key, each in arm["numbers"].items()} for arm in arms.values()]
    for key in dict.fromkeys(key for each in shown_once(means) for key in each):
        table.add_row(shown(TRIES.get(key, key)), *(_cell(arm["numbers"].get(key)) for arm in arms.values()))
        if any(key in arm["beside the first"] for arm in arms.values()):
            table.add_row("  Δ", *(_cell(arm["beside the first"].get(key), "+") for arm in arms.values()), style="dim")
    return table


def _cell(value: dict[str, Any] | None, sign: str = "") -> str:
    if value is None:
        return ""
    width = value["half_width"]
    return f"{value['mean']:{sign}.3g}" + (f" ± {width:.2g}" if width is not None else "")
