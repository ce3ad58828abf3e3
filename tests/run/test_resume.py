"""A resumed run equals an unbroken one, step by step in every metric; a damaged checkpoint is passed over."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from run.small_run import THIRD_PARTY, Told, go_on, run, timeless

from entrostat.errors import ConfigError
from entrostat.run import checkpoints, exact
from entrostat.run.failure import ways_on
from entrostat.run.record import Run

pytestmark = [pytest.mark.filterwarnings(each) for each in THIRD_PARTY]

OFF_POLICY = ("trainer.steps_per_generation=2", "trainer.num_iterations=2", "trainer.per_device_train_batch_size=8")
ACCUMULATED = (
    "algorithm=rloo",
    "trainer.gradient_accumulation_steps=2",
    "trainer.per_device_train_batch_size=8",
)
# On-policy, as the commands train by default; the start is still being averaged when the run is stopped.
RELATIVE = (
    "method={name: flow, target: {cosine: {start: {initial: {over: 5}}, end: {initial: {fraction: 0.5, over: 5}}, steps: 5}}}",
)


def ctrl_c_at(step: int) -> Told:
    return Told(lambda now: os.kill(os.getpid(), signal.SIGINT) if now == step else None)


@pytest.mark.parametrize("settings", [RELATIVE, OFF_POLICY, ACCUMULATED], ids=str)
def test_a_run_stopped_by_ctrl_c_goes_on_exactly(tmp_path: Path, settings: tuple[str, ...]) -> None:
    whole = run(tmp_path / "whole", *settings)
    progress = ctrl_c_at(2)  # noticed at the end of step 3: for OFF_POLICY in the middle of a buffer
    first = run(tmp_path / "broken", *settings, progress=progress)
    assert (first.finished, first.step) == (False, 3)
    assert any("stopping" in note for note in progress.notes)
    assert not (tmp_path / "broken" / "summary.json").exists()
    torch.manual_seed(1234)  # a resumed run owes nothing to the process that it is in
    second = go_on(tmp_path / "broken")
    assert (second.finished, second.step) == (True, 6)
    unbroken, resumed = (Run.load(tmp_path / name) for name in ("whole", "broken"))
    assert [row["step"] for row in unbroken.metrics] == list(range(7))
    assert [timeless(row) for row in resumed.metrics] == [timeless(row) for row in unbroken.metrics]
    differing = {"train_seconds"}
    assert {k: v for k, v in second.summary.items() if k not in differing} == {
        k: v for k, v in whole.summary.items() if k not in differing
    }
    assert any(row["grad_norm"] > 0 for row in unbroken.steps), "nothing was learned, so nothing was compared"


@pytest.mark.parametrize("where", ["start", "step", "checkpoint"])
def test_a_second_ctrl_c_stops_at_once_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    short = ("steps=4", "trainer.save_steps=1", "eval.problems=0")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(whole, *short)

    def twice(step: int) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    place = exact._Exact._place

    def while_saving(self: Any) -> dict[str, Any]:
        if self.state.global_step == 3:
            twice(3)
        return place(self)

    if where == "checkpoint":
        monkeypatch.setattr(exact._Exact, "_place", while_saving)  # after the weights, before the rest
    at = {"start": 1, "step": 3, "checkpoint": 99}[where]
    with pytest.raises(KeyboardInterrupt):
        run(broken, *short, progress=Told(lambda now: twice(now) if now == at else None))
    monkeypatch.undo()
    if where == "checkpoint":
        assert (broken / "checkpoints" / "checkpoint-3").is_dir(), "broken off in the middle"
    kept = f"--resume {broken} " + ("starts over from step 0" if where == "start" else "goes on from checkpoint-2")
    assert kept in ways_on(broken)
    told = Told()
    assert go_on(broken, progress=told).finished
    assert ("going on from step 2" in told.notes) == (where != "start")
    assert any("skipped checkpoint-3" in note for note in told.notes) == (where == "checkpoint")
    assert any("starting over from step 0" in note for note in told.notes) == (where == "start")
    unbroken, resumed = Run.load(whole), Run.load(broken)
    assert [timeless(row) for row in resumed.metrics] == [timeless(row) for row in unbroken.metrics]
    assert ways_on(broken) == f"the run in {broken} has finished"
    assert ways_on(tmp_path / "none") == "nothing was written yet: start again"


def test_incomplete_checkpoints_are_skipped_and_named_and_a_finished_run_can_go_on(tmp_path: Path) -> None:
    run(tmp_path, "steps=2", "trainer.save_steps=1")
    folder = tmp_path / "checkpoints"
    (folder / "checkpoint-9").mkdir()
    (folder / "checkpoint-2" / "trainer_state.json").write_text('{"global_st')
    found = checkpoints.find(folder)
    assert found.newest == folder / "checkpoint-1"
    assert [each.path.name for each in found.skipped] == ["checkpoint-9", "checkpoint-2"]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "rew')  # as a crash leaves it
    progress = Told()
    assert go_on(tmp_path, "steps=3", progress=progress).finished
    assert any("checkpoint-9" in note for note in progress.notes)
    assert [row["step"] for row in Run.load(tmp_path).metrics] == [0, 1, 2, 3]
    summary = Run.load(tmp_path).summary
    with pytest.raises(ConfigError, match="finished its 3 steps"):
        go_on(tmp_path)
    (tmp_path / "summary.json").unlink()  # as when the run is killed between its last checkpoint and its summary
    assert go_on(tmp_path).finished
    assert Run.load(tmp_path).summary == summary


def test_a_run_without_any_checkpoint_starts_again(tmp_path: Path) -> None:
    class Crash(BaseException):
        pass

    def crash(step: int) -> None:
        if step == 1:
            raise Crash

    with pytest.raises(Crash):
        run(tmp_path, "steps=2", progress=Told(crash))
    assert go_on(tmp_path).finished
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]
