"""The code blocks of the pages, and which of them say that they are not run.

A block that cannot be run has a comment before it, which no reader sees, with the reason: `<!-- not run: it clones -->`.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "tests/methods/test_docs.py": lambda block: block.page.startswith("docs/methods/") and block.language == "python"
    and block.page.split("/")[-1] != "writing.md",
    "tests/test_readme_loop.py": lambda block: block.page == "README.md" and "StepSize" in block.code,
}  # fmt: skip
"""Tests that run some blocks, and more closely than those here."""
_BLOCK = re.compile(r"(?:^ *<!-- not run: ([^>]*?) -->\n\s*)?^( *)```(\w*)\n(.*?)^\2```", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page and line, its language ("" for what a terminal shows), and why it is not run, if it is not."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.removeprefix('docs/')}:{self.line}"

    @property
    def elsewhere(self) -> bool:
        return any(mine(self) for mine in ELSEWHERE.values())

    @property
    def lines(self) -> list[list[str]]:
        """A block of a shell: the words of each command, without comments."""
        joined = self.code.replace("\\\n", " ")
        parts = [part for line in joined.splitlines() for part in line.split(" && ")]
        return [words for part in parts if (words := shlex.split(part, comments=True))]


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks() -> list[Block]:
    """Every block of every page, in order."""
    found = []
    for page in pages():
        text = page.read_text()
        for match in _BLOCK.finditer(text):
            line = text.count("\n", 0, match.start(2)) + 1
            code = textwrap.dedent(match[4])
            found.append(Block(str(page.relative_to(ROOT)), line, match[3], code, match[1]))
    return found
