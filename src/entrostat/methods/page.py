"""A method's page, and the table of all of them, from its record and its docstrings.

    python -m entrostat.methods.page docs/methods        writes the pages again

A page that somebody wrote by hand is left alone: a generated one says so in its last line.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from entrostat.methods.base import Card
from entrostat.methods.registry import card, factory, make, names

EXAMPLE = {"target": 0.3}
"""A value for every option that a method may insist on."""

MARK = "Generated from the method's record by `python -m entrostat.methods.page docs/methods`; do not edit."
EFFECTS = {
    "raises": "raises the entropy, or slows its fall",
    "lowers": "lowers the entropy",
    "holds": "holds a target",
    "either": "either way, by its settings",
    "none": "none",
}


def page(name: str) -> str:
    """The page of one method as Markdown."""
    build, record = factory(name), card(name)
    text = sys.modules[build.__module__].__doc__ or ""
    doc = inspect.getdoc(build) or ""
    source = record.source
    assert source is not None
    formula = [line for line in text.splitlines() if line.startswith("    ")]
    idea = " ".join(text.split("\n\n")[0].split())
    parameters = inspect.signature(build).parameters
    needed = ", ".join(f"{p}={EXAMPLE.get(p)}" for p in parameters if parameters[p].default is inspect.Parameter.empty)
    meanings = _arguments(doc)
    knobs = [f"| `{p}` | {_default(parameters[p].default)} | {meanings.get(p, '')} |" for p in parameters]
    lines = [
        f"# {name}",
        "",
        f"**Idea.** {idea}",
        "",
        f"Effect on the entropy: {EFFECTS[record.effect]}. Acts in the {' and '.join(_stages(name))} stage. {_needs(name)}",
        "",
        "```python",
        f"method = es.{name}({needed})",
        "```",
        "",
        "## Formula",
        "",
        *(formula or [f"    {line}" for line in [doc.splitlines()[0]]]),
        "",
        f"Source: {_paper(source.paper)}, {source.where}. Defaults there: {source.defaults}.",
        "",
        "## Knobs",
        "",
        "| option | default | meaning |",
        "| --- | --- | --- |",
        *knobs,
        "",
        "## Metrics",
        "",
        "The [shared ones](README.md#metrics-that-many-methods-share)" + (":" if record.metrics else "."),
        *([""] if record.metrics else []),
        *(f"* `{metric}`: {meaning}" for metric, meaning in record.metrics.items()),
        "",
        "## Deviations",
        "",
        *([f"* {each}" for each in source.deviations] or ["None declared."]),
        "",
        "## When not to use it",
        "",
        *([f"* {each}" for each in record.notes] or ["Nothing is known against it."]),
        "",
        MARK,
    ]
    return "\n".join(lines) + "\n"


def table() -> str:
    """All methods, one row each."""
    rows = [f"| [`{n}`]({n}.md) | {card(n).effect} | {', '.join(_stages(n))} | {_papers(card(n))} |" for n in names()]
    head = ["# All methods", "", "| method | effect on entropy | stage | source |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows, "", MARK]) + "\n"


def write(folder: Path) -> list[str]:
    """Write the table, and each page that is missing or was generated; the names of those written."""
    (folder / "all.md").write_text(table())
    written = []
    for name in names():
        path = folder / f"{name}.md"
        if not path.exists() or MARK in path.read_text():
            path.write_text(page(name))
            written.append(name)
    return written


def example(name: str) -> Any:
    """The method with its defaults, and a value for what has none."""
    parameters = inspect.signature(factory(name)).parameters
    needed = [p for p in parameters if parameters[p].default is inspect.Parameter.empty]
    return make(name, **{p: EXAMPLE[p] for p in needed})


def _stages(name: str) -> list[str]:
    return sorted(example(name).stages) or ["no"]


def _needs(name: str) -> str:
    chain = example(name)
    wants = sorted(map(str, (chain.requires | chain.of_rollouts) - {"logp", "entropy"}))
    words = [*(f"`{want}`" for want in wants), *sorted(chain.needs - {"stale"})]
    stale = " It acts only where importance ratios differ from 1." if "stale" in chain.needs else ""
    return (
        f"It needs {', '.join(words)}." if words else "It needs nothing beyond log-probabilities and entropies."
    ) + stale


def _arguments(doc: str) -> dict[str, str]:
    """What the docstring's Args say of each option."""
    block = re.search(r"^Args:\n(.*?)(?:\n\n|\Z)", doc, re.S | re.M)
    if block is None:
        return {}
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", block[1]):
        keys, _, meaning = entry.strip().partition(":")
        for key in keys.split(","):
            found[key.strip()] = " ".join(meaning.split())
    return found


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return ""
    return f'"{value}"' if isinstance(value, str) else str(value)


def _paper(paper: str) -> str:
    return re.sub(r"(\d{4}\.\d{5})", r"[\1](https://arxiv.org/abs/\1)", paper)


def _papers(record: Card) -> str:
    return _paper(record.source.paper) if record.source else ""


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])), sep="\n")
