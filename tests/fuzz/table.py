"""Write the campaign's figures into docs/limits.md: `python tests/fuzz/table.py`."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "limits.md", Path(__file__).with_name("results.json")
MARK = "<!-- fuzz -->"


def table() -> str:
    kinds = json.loads(RESULTS.read_text())["kinds"]
    lines = [
        "| tried | number | refused with a sentence | survived | anything else |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, found in kinds.items():
        label = f"{name} of {found['runs']} runs" if name == "kills" else name
        number = found["kills"] if name == "kills" else found["tried"]
        ends = [found["refused"], f"{found['survived']} runs" if name == "kills" else found["survived"], found["other"]]
        lines.append(
            f"| {label} | {number:,} | {' | '.join(f'{end:,}' if isinstance(end, int) else end for end in ends)} |"
        )
    return "\n".join(lines)


def written(page: str) -> str:
    """The page with the table below its mark."""
    head, _, rest = page.partition(MARK)
    after = re.sub(r"^(\s*\|[^\n]*\n)*\s*", "", rest)
    return f"{head}{MARK}\n\n{table()}\n\n{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
