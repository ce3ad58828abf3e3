"""A write that fails ends the run with a clear error and leaves the last good checkpoint whole."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from run.small_run import THIRD_PARTY, Told, go_on, run

from entrostat.errors import SaveError
from entrostat.run import checkpoints, folder

pytestmark = [pytest.mark.filterwarnings(each) for each in THIRD_PARTY]
EVERY_STEP = ("steps=3", "trainer.save_steps=1", "eval.problems=0")


@pytest.fixture
def unlimited() -> Iterator[tuple[int, int]]:
    """The limit of a file's size as it was before, and again after."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield before
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("megabytes", [1, 5], ids=["weights", "optimizer"])
def test_a_checkpoint_that_cannot_be_written(tmp_path: Path, unlimited: tuple[int, int], megabytes: int) -> None:
    """The operating system itself refuses: in the midst of the weights, or in the midst of the optimizer's state."""
    limit = (megabytes * 2**20, unlimited[1])

    def on_step(step: int) -> None:
        if step == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    with pytest.raises(SaveError, match=r"checkpoint at step 2 .* --resume goes on"):
        run(tmp_path, *EVERY_STEP, progress=Told(on_step))
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    found = checkpoints.find(tmp_path / "checkpoints")
    assert (found.step, found.skipped) == (1, ())
    if megabytes == 1:
        assert go_on(tmp_path).finished


def test_metrics_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = folder.MetricsFile.append

    class Full:
        def write(self, text: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    def fill_up(self: folder.MetricsFile, row: dict[str, object]) -> None:
        if row["step"] == 2:
            self._file.close()
            self._file = Full()  # type: ignore[assignment]
        append(self, row)

    monkeypatch.setattr(folder.MetricsFile, "append", fill_up)
    with pytest.raises(SaveError, match=r"metrics.jsonl: No space left"):
        run(tmp_path, *EVERY_STEP)
    assert checkpoints.find(tmp_path / "checkpoints").step == 1


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.json"
    folder.write_text(path, "first")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SaveError, match="No space left"):
        folder.write_text(path, "second")
    assert path.read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["summary.json"]


def test_two_processes_may_write_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one comes and goes between this one's writing and putting it in place."""
    path = tmp_path / "results.json"
    replace = os.replace

    def meanwhile(part: Path, target: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        with monkeypatch.context() as other:
            other.setattr(os, "getpid", lambda: -1)
            folder.write_text(path, "theirs")
        replace(part, target)

    monkeypatch.setattr(os, "replace", meanwhile)
    folder.write_text(path, "ours")
    assert path.read_text() == "ours"
    assert [each.name for each in tmp_path.iterdir()] == ["results.json"]
