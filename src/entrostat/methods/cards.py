"""What a method's record says in words: its settings with defaults and meaning, its stages, what it needs.

`entrostat methods`, the pages of docs/methods and the tests read it here, so that nothing is said twice.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from entrostat.control.targets import Band
from entrostat.control.words import in_words
from entrostat.methods.base import Link
from entrostat.methods.chain import Chain
from entrostat.methods.record import Source
from entrostat.methods.registry import as_chain, card, factory

EXAMPLES: dict[str, Any] = {
    "target": 0.3,
    "steps": 100,
    "low": 0.1,
    "high": 0.5,
    "longest": 512,
    "vocabulary": 151_936,
    "band": Band(0.1, 0.5),
}
"""A value for every setting that a method may insist on."""


@dataclass(frozen=True)
class Setting:
    """One setting of a method: `default` as a configuration file has it, empty where one must be given."""

    name: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Description:
    """A method in words."""

    name: str
    idea: str
    formula: str
    settings: tuple[Setting, ...]
    effect: str
    stages: tuple[str, ...]
    writes: tuple[str, ...]
    needs: tuple[str, ...]
    own_advantages: str | None
    state: str
    metrics: Mapping[str, str]
    notes: tuple[str, ...]
    source: Source
    file: str


def example(name: str, **options: Any) -> Chain:
    """A method with its defaults, and example values for what it insists on."""
    needed = [p.name for p in inspect.signature(factory(name)).parameters.values() if p.default is p.empty]
    return as_chain(name, factory(name)(**{key: EXAMPLES[key] for key in needed if key not in options}, **options))


def described(name: str) -> Description:
    """The record of a published method in words."""
    build, published = factory(name), card(name)
    chain = example(name)
    assert published.source is not None
    own = list(chain.links)
    wants = sorted({str(want) for want in chain.requires | chain.of_rollouts} - {"logp", "entropy"})
    words = {
        "rewards": "raw rewards",
        "groups": "which rows answer one prompt",
        "stale": "importance ratios that differ from 1",
    }
    needs = [*wants, *(words[need] for need in sorted(chain.needs))]
    if "reward" in chain.stages:
        needs.append("whole groups, with their raw rewards")
    return Description(
        name=name,
        idea=_first(build),
        formula=_module_text(build),
        settings=_settings(build, own),
        effect=published.effect,
        stages=tuple(stage for stage in ("reward", "loss", "sampling") if stage in chain.stages) or ("none",),
        writes=tuple(sorted(chain.writes)),
        needs=tuple(dict.fromkeys(needs)),
        own_advantages=next((each for link in own if (each := link.record.own_advantages)), None),
        state=_state(own),
        metrics={k: v for each in [published, *(link.record for link in own)] for k, v in each.metrics.items()},
        notes=tuple(dict.fromkeys([*published.notes, *(note for link in own for note in link.record.notes)])),
        source=published.source,
        file=build.__module__.replace(".", "/") + ".py",
    )


def _first(build: Any) -> str:
    return " ".join((inspect.getdoc(build) or "").split("\n\n")[0].split())


def _module_text(build: Any) -> str:
    """The formulas of the file: the indented lines of its docstring, or all that follows its first paragraph."""
    text = sys.modules[build.__module__].__doc__ or ""
    indented = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    return "\n".join(indented) or text.partition("\n\n")[2].strip()


def _settings(build: Any, links: list[Link]) -> tuple[Setting, ...]:
    meanings: dict[str, str] = {}
    for source in [*(type(link) for link in links), build]:
        meanings |= arguments(inspect.getdoc(source) or "")
    return tuple(
        Setting(p.name, "" if p.default is p.empty else in_words(p.default), meanings.get(p.name, ""))
        for p in inspect.signature(build).parameters.values()
    )


def arguments(doc: str) -> dict[str, str]:
    """The `Args:` of a docstring, by name."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", doc, re.M)
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", section[1].rstrip() if section else ""):
        names, colon, text = entry.strip().partition(": ")
        if colon:
            found |= {name.strip(): " ".join(text.split()) for name in names.split(",")}
    return found


def _state(links: list[Link]) -> str:
    parts = []
    if any(link.feedback for link in links):
        parts.append("a controller")
    if any(type(link).remember is not Link.remember or link.record.tops for link in links):
        parts.append("numbers of the last optimizer step")
    return " and ".join(parts) or "none"
