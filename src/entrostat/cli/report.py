"""`entrostat report`: one page about one run or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAME = "report.html"


def command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Run folders or logs of any trainer.")],
    out: Annotated[
        Path | None, typer.Option(help="The page [default: report.html in the run's folder, or here for several].")
    ] = None,
    completions: Annotated[int, typer.Option(min=1, help="Most completions in the token view.")] = 200,
) -> None:
    """Make one self-contained HTML page with verdict, charts, tokens and configuration, and a JSON file with the same content.

    Several runs are drawn into the same charts. Logs of any trainer can be used; the token view needs recorded tokens.
    """
    from rich.console import Console

    from entrostat.diagnosis import nothing_found
    from entrostat.report.content import content_of
    from entrostat.report.page import write_report
    from entrostat.report.visible import one_line

    content = content_of(paths, completions)
    place = out or (paths[0] / NAME if len(paths) == 1 and paths[0].is_dir() else Path(NAME))
    page, twin = write_report(content, place)
    console = Console(soft_wrap=True)
    for run in content["runs"]:
        found = ", ".join(f"{each['code']} {each['title']}" for each in run["findings"]) or nothing_found(run["steps"])
        console.print(f"{run['label']}: {found}", highlight=False, markup=False)
    size = page.stat().st_size / 1e6
    console.print(f"page: {one_line(str(page))} ({size:.1f} MB)", highlight=False, markup=False)
    console.print(f"data: {one_line(str(twin))}", highlight=False, markup=False)
