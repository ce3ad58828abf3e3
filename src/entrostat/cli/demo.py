"""`entrostat demo`: plain GRPO beside entropy control, from the same start."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

PLAIN, HELD = "plain GRPO", "hold"


def command(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG.yaml] [key.path=value ...]", help="As for train, for both runs."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of both runs [default: runs/<time>-demo].")] = None,
    target: Annotated[str, typer.Option(help="Entropy to hold [nats per token], or '0.75 * initial'.")] = "0.2",
) -> None:
    """Show what control does: plain GRPO and entropy held at a target, side by side in two processes."""
    from rich.columns import Columns

    from entrostat.cli._children import Child, check_installed, follow
    from entrostat.cli._closing import closing_table
    from entrostat.cli._progress import live, views_for
    from entrostat.cli._settings import check_parts, for_new_run
    from entrostat.cli._text import console as make_console
    from entrostat.cli._text import shown
    from entrostat.errors import ConfigError
    from entrostat.run.folder import FIGURE, check_free, default_path

    words = settings or []
    if any(word.startswith("method") for word in words):
        raise ConfigError("method: the demo compares 'observe' with 'hold'; set the target with --target")
    config = for_new_run(words)
    folder = out or default_path("demo")
    methods = {PLAIN: ["method=observe"], HELD: [f"method={{name: hold, target: {target}}}"]}
    for method in methods.values():
        check_parts(for_new_run([*words, *method]))
    places = {name: folder / name.replace(" ", "-") for name in methods}
    for place in places.values():
        check_free(place)
    check_installed()
    console = make_console()
    console.print(f"{config.steps} steps of {PLAIN} and of {HELD}, in two processes; the first step takes a moment")
    starts = {name: partial(Child, places[name], [*words, "threads=1", *method]) for name, method in methods.items()}
    views = dict(zip(starts, views_for(console, config.steps, list(starts)), strict=True))
    with (
        live(console, Columns(list(views.values()))),  # type: ignore[arg-type]  # drawn where they are panels
        closing(follow(starts, len(starts))) as news,
    ):
        for name, row in news:
            if row:
                views[name].step(row["step"], row)
    summaries = _conclude(folder, places, folder / FIGURE)
    console.print(closing_table(summaries))
    console.print(meaning(summaries[PLAIN], summaries[HELD]))
    console.print(
        shown(f"figure: {folder / FIGURE}\nrun folders: {', '.join(map(str, places.values()))}"), highlight=False
    )


def meaning(plain: Mapping[str, Any], held: Mapping[str, Any]) -> str:
    """What the picture says, in one sentence with this run's own numbers."""
    start, low, kept = plain["entropy"]["start"], plain["entropy"]["end"], held["entropy"]["end"]
    words = (
        f"What it means: plain GRPO took the policy's entropy from {start:.2f} to {low:.2f} nats, hold kept it at "
        f"{kept:.2f} (asked for: {held['entropy']['target_end']:.2f})"
    )
    ends = [summary.get("groups_without_spread", {}).get("end") for summary in (plain, held)]
    if None not in ends:
        shares = f"{ends[0]:.0%} of plain GRPO's groups and {ends[1]:.0%} of hold's"
        words += f"; {shares} had rewards that all agree, and taught nothing"
    return words + "."


def _conclude(folder: Path, places: dict[str, Path], figure: Path) -> dict[str, Any]:
    """Both runs in one figure and one summary, the plain one measured against the other's target."""
    from entrostat.report.figure import entropy_figure
    from entrostat.run.folder import SUMMARY, write_json
    from entrostat.run.record import Run
    from entrostat.run.summary import summarize

    runs = {name: Run.load(place) for name, place in places.items()}
    target = runs[HELD].summary["entropy"]["target_end"]
    summaries = {name: run.summary | summarize(run.metrics, target) for name, run in runs.items()}
    entropy_figure(list(runs.values()), figure, labels=list(runs))
    write_json(folder / SUMMARY, summaries)
    return summaries
