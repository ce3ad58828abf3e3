"""Numbers over seeds as Markdown, and tables of them inside the project's pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


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


def filled(page: str, excerpts: Mapping[str, str]) -> str:
    """A page whose marked places hold these excerpts, by name: all that stands between `<!-- name -->` and `<!-- end -->`."""
    for name, text in excerpts.items():
        place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, found = place.subn(lambda match: f"{match[1]}{text}\n{match[2]}", page)  # noqa: B023
        if found != 1:
            raise ValueError(
                f"the page has {found} places named {name!r}, expected one: <!-- {name} --> ... <!-- end -->"
            )
    return page


def fill_pages(excerpts: Mapping[str, Mapping[str, str]]) -> None:
    """Write excerpts into the project's pages: page -> name -> text."""
    for page, texts in excerpts.items():
        path = ROOT / page
        path.write_text(filled(path.read_text(), texts))
