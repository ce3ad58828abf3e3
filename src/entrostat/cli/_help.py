"""The help of a command: each argument as one types it, and examples that can be copied."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

_TYPES = {"int range": "N", "int": "N", "float range": "X", "float": "X", "str": "TEXT", "path": "PATH", "Path": "PATH"}
_TYPE = re.compile(r" <(?:list\[)?([\w ]+)\]?>$")

EXAMPLES = {
    "compare": (
        "entrostat compare --methods observe,hold --seeds 3 steps=50",
        "entrostat compare --method 'low: hold target=0.1' --out runs/levels",
    ),
    "demo": ("entrostat demo", "entrostat demo --target 0.15 steps=50 --out runs/demo"),
    "diagnose": (
        "entrostat diagnose runs/first",
        "entrostat diagnose trainer_state.json --json",
        "entrostat diagnose log.csv --column entropy=my_key",
    ),
    "env": ("entrostat env",),
    "methods": ("entrostat methods", "entrostat methods hold"),
    "models": ("entrostat models",),
    "probe": (
        "entrostat probe --methods hold,flow,clip_b --json",
        "entrostat probe --task '{name: countdown, problems_per_prompt: 2}'",
    ),
    "report": ("entrostat report runs/first", "entrostat report runs/a runs/b --out both.html"),
    "simulate": (
        "entrostat simulate method.target=0.2",
        "entrostat simulate method.target=0.2 --out response.png",
    ),
    "tasks": ("entrostat tasks",),
    "train": (
        "entrostat train",
        "entrostat train method.target=0.3 steps=200 --out runs/high",
        "entrostat train method=observe --dry-run",
        "entrostat train --resume runs/high steps=400",
    ),
    "tune": ("entrostat tune runs/first --map map.png", "entrostat tune --probe --settling 50"),
    "watch": ("entrostat watch runs/first", "entrostat watch runs/first --web"),
}


def epilog(name: str) -> str:
    """The examples of a command, a line each."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in EXAMPLES[name])])


class HelpfulCommand(TyperCommand):
    """A command whose help names a kind of value by one word, and an argument by its own name alone."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = [self.options_metavar or ""]
        for each in self.get_params(ctx):
            if each.param_type_name == "argument":
                name = str(getattr(each, "metavar", None) or (each.name or "").upper())
                pieces.append(name if each.required or "[" in name else f"[{name}]")
        return pieces

    def format_options(self, ctx: Any, formatter: Any) -> None:
        kinds: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for each in self.get_params(ctx):
            if (record := each.get_help_record(ctx)) is not None:
                kinds[each.param_type_name].append((_plain(each, record[0]), record[1]))
        for kind, heading in (("argument", "Arguments"), ("option", "Options")):
            if kinds[kind]:
                with formatter.section(heading):
                    formatter.write_dl(kinds[kind])


def _plain(parameter: Any, shown: str) -> str:
    """`--seeds N` for `--seeds <int range>`, `PATH...` for `PATH... <list[Path]>`."""
    found = _TYPE.search(shown)
    if parameter.param_type_name == "argument":
        name = shown[: found.start()] if found else shown
        return name if getattr(parameter, "metavar", None) else name.upper()
    return shown[: found.start()] + " " + _TYPES.get(found[1], found[1].upper()) if found else shown
