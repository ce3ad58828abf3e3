"""`entrostat watch`: a run while any trainer writes it, in the terminal or on a page that refreshes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    path: Annotated[Path, typer.Argument(help="A run folder or log of any trainer; it may not exist yet.")],
    web: Annotated[bool, typer.Option("--web", help="Serve the report page on 127.0.0.1 instead.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of --web; 0: any that is free.")] = 8377,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between looks at the log.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show it as it is now and stop.")] = False,
) -> None:
    """Watch a run: entropy against target as a live plot, and findings as they arise. Ctrl-C ends it; nothing is written."""
    if web:
        from entrostat.report.serve import serve

        serve(path, port, typer.echo)
        return
    from entrostat.report.watch import watch

    watch(path, every, once)
