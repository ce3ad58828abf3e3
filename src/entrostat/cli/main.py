"""The command `entrostat`. Every module beside this one with a function `command` is a command of that name.

Those modules import what they need inside their functions, so that `entrostat --help` stays fast.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import Annotated

import typer

import entrostat.cli
from entrostat import __version__
from entrostat.errors import ConfigError, EntrostatError

app = typer.Typer(
    name="entrostat",
    help="A thermostat for the policy entropy of language models under reinforcement learning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Shown by `--help`; `main` takes `--debug` out before this, so that it may stand anywhere."""


for _module in pkgutil.iter_modules(entrostat.cli.__path__):
    if _module.name != "main" and not _module.name.startswith("_"):
        app.command(_module.name)(importlib.import_module(f"entrostat.cli.{_module.name}").command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: exit code 2 for a wrong setting, 1 for any other error of ours, 130 after Ctrl-C."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        app([word for word in words if word != "--debug"])
    except EntrostatError as error:
        if "--debug" in words:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
