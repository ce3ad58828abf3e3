"""A plugin for pytest: what became of each test is on disk as soon as it is known, and a test that passed is not run again.

`ENTROSTAT_GPU_PROGRESS` names the file, one JSON object a line. After a test that cost the device nothing else passes in this
process: it ends with the code in `ENTROSTAT_GPU_BROKEN`, the test counts as failed, and the next process goes on behind it.
It lies in a folder of its own, and imports nothing of the kit: the tests have modules of the same names.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

FILE, CODE = "ENTROSTAT_GPU_PROGRESS", "ENTROSTAT_GPU_BROKEN"
LONGEST = 2000  # characters of a failure's text that are kept: its end


def outcomes(path: Path) -> dict[str, dict[str, Any]]:
    """The last outcome of each test by its name; a line that was cut short is none."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return {row["test"]: row for row in (json.loads(line) for line in lines if line.endswith("\n"))}


def over(row: dict[str, Any] | None) -> bool:
    """Whether a test need not run again."""
    return row is not None and (row["outcome"] in ("passed", "skipped") or bool(row.get("lost")))


def counts(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    """How many tests ended in which way."""
    return dict(Counter(row["outcome"] for row in rows))


def lost() -> bool:
    """Whether the device answers no more; tests that never imported torch have none."""
    torch = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_available():
            torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is over."""
    path = Path(os.environ[FILE])
    known = outcomes(path)
    if path.exists() and not path.read_text().endswith("\n"):  # it was killed while it wrote
        path.write_text("".join(json.dumps(row) + "\n" for row in known.values()))
    gone = [item for item in items if over(known.get(item.nodeid))]
    items[:] = [item for item in items if not over(known.get(item.nodeid))]
    config.hook.pytest_deselected(items=gone)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A row for a test's call, and for what failed or was skipped before or after it."""
    if report.when != "call" and report.passed:
        return
    row: dict[str, Any] = {"test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 2)}
    if report.failed:
        row |= {"where": report.longreprtext[-LONGEST:], "lost": lost()}
    with Path(os.environ[FILE]).open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    if row.get("lost"):
        os._exit(int(os.environ[CODE]))  # what lies on a lost device cannot be torn down
