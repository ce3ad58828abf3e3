"""`entrostat env`: what to put into a bug report."""

from __future__ import annotations

import typer


def command() -> None:
    """Show the versions of all packages and the machine, as JSON."""
    import json

    from entrostat.run.environment import environment

    typer.echo(json.dumps(environment(), indent=2))
