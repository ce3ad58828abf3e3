"""What is said of a run that fails for a reason that nobody foresaw."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrostat.errors import RunFailed
from entrostat.run import failure
from entrostat.run.checkpoints import Found
from entrostat.run.config import check_config
from entrostat.run.folder import CHECKPOINTS


@pytest.mark.parametrize(
    ("saved", "says"), [("checkpoint-4", "--resume goes on from checkpoint-4"), (None, "start again")]
)
def test_a_failed_run_is_resumed_only_where_it_left_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: str | None, says: str
) -> None:
    monkeypatch.setattr(failure, "find", lambda folder: Found(folder / saved if saved else None, ()))
    with pytest.raises(RunFailed, match=says), failure.explained(check_config({}), tmp_path, lambda: 5, lambda: False):
        raise IndexError("list index out of range")
    assert "IndexError" in (tmp_path / failure.TRACEBACK).read_text()


def test_where_checkpoints_is_a_link_the_failure_itself_is_still_told(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / CHECKPOINTS).symlink_to(tmp_path / "elsewhere")
    told = pytest.raises(RunFailed, match="list index out of range")
    with told, failure.explained(check_config({}), tmp_path, lambda: 5, lambda: False):
        raise IndexError("list index out of range")
