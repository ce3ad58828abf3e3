"""A method's page, and the table of all of them, from its record and its docstrings.

    python -m entrostat.methods.page docs/methods        writes the pages again

A page that somebody wrote by hand is left alone: a generated one says so in its last line.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from entrostat.methods.cards import EXAMPLES, Setting, described
from entrostat.methods.registry import card, names

MARK = "Generated from the method's record by `python -m entrostat.methods.page docs/methods`; do not edit."
EFFECTS = {
    "raises": "raises the entropy, or slows its fall",
    "lowers": "lowers the entropy",
    "holds": "holds a target",
    "either": "either way, depending on the batch and the settings",
    "none": "none",
}

OWN_ADVANTAGES = {
    division: f"It builds its own advantages from the raw rewards, {how}. The host's settings of advantages have no effect "
    "([TRL](../trl.md#methods-with-advantages-of-their-own), [verl](../verl.md#what-is-refused))."
    for division, how in {
        "group": "divided by the standard deviation of each group",
        "none": "not divided by a standard deviation",
        "other": "divided as its formula says",
    }.items()
}
"""By `Card.own_advantages`; pages that are written by hand have the same sentence."""


def page(name: str) -> str:
    """The page of one method as Markdown."""
    about = described(name)
    source = about.source
    needed = ", ".join(f"{each.name}={_written(EXAMPLES[each.name])}" for each in about.settings if not each.default)
    needs = [f"`{need}`" if "(" in need or " " not in need else need for need in about.needs]
    knobs = [f"| `{each.name}` | {default_cell(each)} | {_cell(each.meaning)} |" for each in about.settings]
    lines = [
        f"# {name}",
        "",
        f"**Idea.** {about.idea}",
        "",
        f"* **Effect on the entropy**: {EFFECTS[about.effect]}.",
        f"* **Acts in** the {' and '.join(about.stages)} stage.",
        f"* **Needs** {', '.join(needs) or 'only log-probabilities and entropies'}.",
        f"* **State** that it keeps: {about.state}.",
        *(["", OWN_ADVANTAGES[about.own_advantages]] if about.own_advantages else []),
        "",
        "```python",
        f"method = es.{name}({needed})",
        "```",
        "",
        "## Formula",
        "",
        *(f"    {line}".rstrip() for line in (about.formula or about.idea).splitlines()),
        "",
        f"Source: {_linked(source.cited)}. Defaults there: {source.defaults}. Code: `{about.file}`.",
        "",
        "## Knobs",
        "",
        *(["| option | default | meaning |", "| --- | --- | --- |", *knobs] if knobs else ["None."]),
        "",
        "## Metrics",
        "",
        "The [shared ones](README.md#metrics-that-many-methods-share)" + (":" if about.metrics else "."),
        *([""] if about.metrics else []),
        *(f"* `{metric}`: {meaning}" for metric, meaning in about.metrics.items()),
        "",
        "## Deviations",
        "",
        *([f"* {each}" for each in source.deviations] or ["None declared."]),
        "",
        "## When not to use it",
        "",
        *([f"* {each}" for each in about.notes] or ["No such case is known."]),
        "",
        MARK,
    ]
    return "\n".join(lines) + "\n"


def table() -> str:
    """All methods, one row each."""
    text = (
        "This page lists every method: what it does to the entropy compared with the same training without it, at which stage it "
        'acts, and where it comes from. "Either" means that it depends on the batch and the settings.'
    )
    head = [
        "# All methods",
        "",
        text,
        "",
        "| method | effect on entropy | stage | source |",
        "| --- | --- | --- | --- |",
    ]
    rows = [
        f"| [`{name}`]({name}.md) | {card(name).effect} | {', '.join(described(name).stages)} | "
        f"{_linked(described(name).source.name)} |"
        for name in names()
    ]
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


def _written(value: object) -> str:
    return f"es.{value!r}" if type(value).__module__.startswith("entrostat.control") else repr(value)


def default_cell(setting: Setting) -> str:
    """What the column of defaults says: as in a file, or that there is none."""
    if setting.default in ("", "not set"):
        return setting.default or "required"
    return f"`{_cell(setting.default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _linked(paper: str) -> str:
    return re.sub(r"(\d{4}\.\d{5})", r"[\1](https://arxiv.org/abs/\1)", paper)


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])), sep="\n")
