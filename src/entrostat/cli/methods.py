"""`entrostat methods`: the published methods, each beside its paper."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def command(name: Annotated[str | None, typer.Argument(help="Show one method in full.")] = None) -> None:
    """List the methods: paper, defaults and how ours differs."""
    from entrostat import methods

    if name is None:
        for each in methods.names():
            typer.echo(_heading(each))
        typer.echo("\nentrostat methods NAME shows the options of one and how it differs from its paper.")
        return
    found = methods.source(name)
    typer.echo(f"{_heading(name)}\n")
    typer.echo(f"paper:     {found.paper}, {found.where}")
    typer.echo(f"defaults:  {found.defaults}")
    typer.echo("options:")
    for option in _options(methods.factory(name)):
        typer.echo(f"  {option}")
    if found.deviations:
        typer.echo("how ours differs:")
        for deviation in found.deviations:
            typer.echo(f"  - {deviation}")


def _heading(name: str) -> str:
    import inspect

    from entrostat import methods

    words = (inspect.getdoc(methods.factory(name)) or "").split("\n\n")[0].replace("\n", " ")
    return f"{name:14} {methods.source(name).paper:12} {words}" if len(words) < 200 else f"{name:14} {words[:200]}..."


def _options(factory: Any) -> list[str]:
    import inspect

    parameters = inspect.signature(factory).parameters.values()
    empty = inspect.Parameter.empty
    return [p.name if p.default is empty else f"{p.name} = {p.default!r}" for p in parameters] or ["none"]
