"""Programs that make problems: they leave nothing behind and stop nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrostat.errors import DataError
from entrostat.tasks.programs import entries


def test_programs_leave_nothing_behind_and_do_not_run_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = entries("tasks.untidy:untidy", {}, 8, seconds=0.3, wait=10.0)
    assert [each and each["answer"] for each in found] == ["0", None, None, None, None, None, "6", "7"]
    assert Path.cwd() == tmp_path and not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_data_set_that_does_not_load_is_said() -> None:
    with pytest.raises(DataError, match="untidy:broken does not load"):
        entries("tasks.untidy:broken", {}, 8)


def test_a_problem_is_the_same_when_it_is_made_again() -> None:
    assert entries("tasks.untidy:untidy", {}, 1) == entries("tasks.untidy:untidy", {}, 1)
