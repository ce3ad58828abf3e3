"""Numbers over seeds as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def cell(value: dict[str, Any] | None, percent: bool = False, digits: int = 3) -> str:
    """mean ± standard deviation of a record of several seeds, or nothing."""
    if not value or "mean" not in value:
        return ""
    scale, unit = (100, " %") if percent else (1, "")
    digits = 1 if percent else digits
    spread = f" ± {value['sd'] * scale:.{digits}f}" if value.get("sd") is not None else ""
    return f"{value['mean'] * scale:.{digits}f}{spread}{unit}"


def machine(environment: dict[str, Any]) -> str:
    """A run's machine and versions in a line."""
    here = environment["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["packages"].items() if version)
    return f"{here['processor']}, {here['cores']} cores, {here['memory_gib']} GiB. Versions: {versions}."


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
