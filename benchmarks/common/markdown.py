"""Numbers over seeds as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

END = "<!-- end -->"


def cell(value: dict[str, Any] | None, percent: bool = False, digits: int = 3) -> str:
    """mean ± standard deviation of a record of several seeds, or nothing."""
    if not value or "mean" not in value:
        return ""
    scale, unit = (100, " %") if percent else (1, "")
    digits = 1 if percent else digits
    spread = f" ± {value['sd'] * scale:.{digits}f}" if value.get("sd") is not None else ""
    return f"{value['mean'] * scale:.{digits}f}{spread}{unit}"


def machine(*environments: dict[str, Any]) -> str:
    """The machines that runs were made on, and the versions there, in a line."""
    said = []
    for each in environments:
        here = each["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in each["packages"].items() if version)
        said.append(f"{here['processor']}, {here['cores']} cores, {here['memory_gib']} GiB. Versions: {versions}.")
    return " And: ".join(said)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_between(page: Path, name: str, text: str) -> None:
    """Put `text` into the page between `<!-- name -->` and `<!-- end -->`, in place of what stands there."""
    mark = f"<!-- {name} -->"
    before, found, rest = page.read_text().partition(mark)
    if not found or END not in rest:
        raise SystemExit(f"{page} has no {mark} followed by {END}: where is the text to go?")
    page.write_text(f"{before}{mark}\n{text}\n{END}{rest.partition(END)[2]}")
