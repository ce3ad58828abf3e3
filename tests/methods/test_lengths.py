"""A method is short enough to be read like its paper."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import entrostat.methods

FILES = sorted(Path(entrostat.methods.__file__).parent.glob("*.py"))
LENGTHS = {path.name: len(path.read_text().splitlines()) for path in FILES}


def test_half_of_the_files_have_fewer_than_seventy_lines() -> None:
    """Every file of the package counts, those that methods share too; so does every line, blank ones and docstrings too."""
    assert median(LENGTHS.values()) < 70


def test_no_file_has_more_than_three_hundred() -> None:
    assert {name: lines for name, lines in LENGTHS.items() if lines > 300} == {}
