"""The capability table is what the code says today. Needs no verl."""

from __future__ import annotations

from pathlib import Path

from entrostat.hosts.capabilities import HOSTS, REASONS, table
from entrostat.methods import names

PAGE = Path(__file__).parents[3] / "docs" / "capabilities.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == table() + "\n", "python -m entrostat.hosts.capabilities > docs/capabilities.md"


def test_every_method_and_every_reason_is_there():
    text = table()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == len(names())
    assert all(line.count("|") == len(HOSTS) + 3 for line in rows)
    assert not any(" no |" in line for line in rows)  # each no has a reason
    for number in range(1, len(REASONS) + 1):
        assert f"\n{number}. " in text
