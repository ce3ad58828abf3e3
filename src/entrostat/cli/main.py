"""The command `entrostat`. Every module beside this one with a function `command` is a command of that name.

Those modules import what they need inside their functions, so that `entrostat --help` stays fast.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pkgutil
import re
import sys
import tempfile
import traceback
from typing import Annotated

import typer

import entrostat.cli
from entrostat import __version__
from entrostat.cli import _help, _interrupt, _usage
from entrostat.errors import ConfigError, EntrostatError, exit_code

app = typer.Typer(
    name="entrostat",
    cls=_usage.Group,
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
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Shown by `--help`; `main` takes `--debug` out before this, so that it may stand anywhere."""


for _module in pkgutil.iter_modules(entrostat.cli.__path__):
    if _module.name != "main" and not _module.name.startswith("_"):
        _command = importlib.import_module(f"entrostat.cli.{_module.name}").command
        # In the list of commands the first clause, which a line of 80 columns can hold.
        _short = re.split(r"[:;.]\s", f"{_command.__doc__} ")[0]
        app.command(_module.name, cls=_usage.Command, short_help=_short, epilog=_help.epilog(_module.name))(_command)


OWN = ("", "entrostat")
# By what they are imported as. What the package itself needs is named as it is, everything else comes with `train`.
BASE = ("numpy", "pydantic", "rich", "safetensors", "torch")
LONGEST = 2_000  # characters of an error, which may repeat what it was given


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Exit codes of all commands: 2 if what was given is wrong (a setting, an option, a file, a log), explained in a sentence; 1 if
    the command ran and failed or found something wrong; 70 for an unexpected error; 130 after Ctrl-C.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        _no_empty_words(words)
        _no_file_for_json(words)
        app([word for word in words if word != "--debug"])
    except EntrostatError as error:
        if "--debug" in words:
            raise
        _say(f"error: {error}")
        sys.exit(exit_code(error))
    except (SystemExit, KeyboardInterrupt) as error:
        if (interruption := _interrupt.behind(error)) is None:
            raise
        sys.exit(_interrupt.end(str(interruption)))
    except BrokenPipeError:
        _leave_pipe()
        sys.exit(1)
    except Exception as error:
        if _interrupt.asked():  # and lost on its way up, in an import or a callback from C
            sys.exit(_interrupt.end())
        if "--debug" in words:
            raise
        if isinstance(error, ModuleNotFoundError) and (missing := (error.name or "").partition(".")[0]) not in OWN:
            _say(f"error: this needs {missing}, which is not installed: pip install '{_brings(missing)}'")
            sys.exit(1)
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        _say(f"error: this should not happen: {what}. {_kept(error)}")
        sys.exit(70)


def _brings(missing: str) -> str:
    """What to install for a module that is not there."""
    return missing if missing in BASE else "entrostat[train]"  # which brings TRL too: no command needs TRL alone


def _no_empty_words(words: list[str]) -> None:
    """Refuse `--out ""`, which would mean the working directory."""
    for before, word in zip(["", *words], words, strict=False):
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            name = word.rstrip("=") if word.strip() else before
            raise ConfigError(f"{name or 'the first word'}: its value is empty: give one, or leave it out")


def _no_file_for_json(words: list[str]) -> None:
    """Refuse `probe --json FILE` and `tune RUN --json FILE`, where the file would be taken for a run."""
    for before, word in itertools.pairwise(words):
        if before == "--json" and word.endswith(".json") and words[0] in ("probe", "tune") and not os.path.exists(word):
            raise ConfigError(f"--json: prints, and takes no file, got {word!r}: write --json > {word}")


def _say(text: str) -> None:
    from entrostat.cli._text import shown

    with contextlib.suppress(OSError):
        line = " ".join(shown(text).split("\n"))
        typer.echo(line if len(line) <= LONGEST else f"{line[:LONGEST]}...", err=True)


def _kept(error: Exception) -> str:
    """Where the traceback was written."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="entrostat-", suffix=".txt")
        with os.fdopen(descriptor, "w") as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return "--debug shows the traceback"
    return f"The traceback is in {path}: please report it, with the command"


def _leave_pipe() -> None:
    """The reader has gone: the interpreter's own flush at its end is not to fail too."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
