"""What a run goes on from, what it refuses to, and what may change."""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli.test_main import call
from run.small_run import THIRD_PARTY, Told, run, timeless

from entrostat.core.yaml_file import dump, parse
from entrostat.errors import ConfigError, SaveError
from entrostat.run import checkpoints
from entrostat.run.config import load_config
from entrostat.run.folder import claim
from entrostat.run.record import Run
from entrostat.run.resolve import resolve
from entrostat.run.train import train

pytestmark = [pytest.mark.filterwarnings(each) for each in THIRD_PARTY]
PLAIN = ("eval.problems=0", "trainer.save_steps=2", "trainer.save_total_limit=3")


def go_on(folder: Path, *overrides: str, allow: tuple[str, ...] = (), progress: Told | None = None):
    config = resolve(load_config(folder / "config.yaml", overrides))
    with claim(folder, resume=True):
        return train(config, folder, progress or Told(), allow)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps with checkpoints at 2 and 4."""
    folder = tmp_path_factory.mktemp("runs") / "made"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(folder, *PLAIN, "steps=4")
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def empty(path: Path) -> None:
    path.write_bytes(b"")


def set_state(**values: object) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        state = json.loads(path.read_text())
        path.write_text(json.dumps({key: value for key, value in (state | values).items() if value is not ...}))

    return damage


@pytest.mark.parametrize(
    ("name", "damage", "why"),
    [
        ("optimizer.pt", empty, "optimizer.pt is empty"),
        ("rng_state.pth", empty, "rng_state.pth is empty"),
        ("generation_0.pt", empty, "generation_0.pt is empty"),
        ("model.safetensors", empty, "model.safetensors is empty"),
        ("model.safetensors", lambda path: os.truncate(path, 100_000), "model.safetensors is cut off"),
        ("optimizer.pt", lambda path: os.truncate(path, 1000), "optimizer.pt is damaged"),
        ("optimizer.pt", Path.unlink, "has no optimizer.pt"),
        ("scheduler.pt", Path.unlink, "has no scheduler.pt"),
        ("rng_state.pth", Path.unlink, "has no rng_state.pth"),
        ("trainer_state.json", Path.unlink, "not written to the end"),
        ("trainer_state.json", set_state(log_history=...), "lacks 'log_history'"),
        ("trainer_state.json", set_state(global_step="4"), "'global_step' is '4'"),
        ("trainer_state.json", set_state(nonsense=1), "unknown field 'nonsense'"),
        ("trainer_state.json", set_state(stateful_callbacks=[1]), "'stateful_callbacks' is"),
        ("trainer_state.json", set_state(epoch="x"), "'epoch' is"),
        ("trainer_state.json", lambda path: path.write_text("[]"), "holds no mapping"),
        ("entrostat_state.json", empty, "entrostat_state.json is empty"),
        ("entrostat_state.json", lambda path: path.write_text("{"), "entrostat_state.json is damaged"),
        ("entrostat_state.json", lambda path: path.write_text("{}"), "entrostat_state.json is damaged"),
    ],
)
def test_what_is_not_whole_is_passed_over_for_an_older_one(
    copy: Path, name: str, damage: Callable[[Path], object], why: str
) -> None:
    damage(copy / "checkpoints" / "checkpoint-4" / name)
    found = checkpoints.find(copy / "checkpoints")
    assert found.step == 2
    assert [(each.path.name, why in each.why) for each in found.skipped] == [("checkpoint-4", True)]


def test_a_skipped_checkpoint_is_said_and_a_run_with_only_damaged_ones_is_not_started_over(copy: Path) -> None:
    (copy / "summary.json").unlink()
    for step in (2, 4):
        (copy / "checkpoints" / f"checkpoint-{step}" / "optimizer.pt").unlink()
    with pytest.raises(
        ConfigError, match=r"no checkpoint in .* is whole \(checkpoint-4: it has no optimizer.pt; checkpoint-2"
    ):
        go_on(copy)
    assert len(Run.load(copy).metrics) == 4
    shutil.rmtree(copy / "checkpoints")
    progress = Told()
    assert go_on(copy, "steps=1", progress=progress).finished
    assert progress.notes == ["there is no whole checkpoint: starting over from step 0"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, r"metrics\.jsonl is missing, which held 4 steps: .*--allow metrics\.jsonl"),
        (empty, r"metrics\.jsonl lacks 4 of the 4 steps"),
        (
            lambda path: path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n"),
            r"lacks 2 of the 4 steps .*step 3, 4",
        ),
        (lambda path: path.write_text('{"step": "1"}\n'), r"line 1, is damaged: its step is '1'"),
        (lambda path: path.write_text("nonsense\n"), r"line 1, is damaged: it is not JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe\n"), r"not UTF-8"),
    ],
)
def test_lost_metrics_are_refused_by_name(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(copy / "metrics.jsonl")
    with pytest.raises(ConfigError, match=message):
        go_on(copy, "steps=6")


def test_lost_metrics_can_be_allowed(copy: Path) -> None:
    (copy / "metrics.jsonl").write_text("nonsense\n")
    assert go_on(copy, "steps=5", allow=("metrics.jsonl",)).finished
    assert [row["step"] for row in Run.load(copy).metrics] == [5]
    assert (copy / "metrics.jsonl.damaged").read_text() == "nonsense\n"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed=1", r"^seed: checkpoint-4 was made with 0, now it is 1: .*cannot change it"),
        ("trainer.per_device_train_batch_size=32", r"^trainer\.per_device_train_batch_size: .*cannot change it"),
        ("algorithm=rloo", r"^algorithm: .*cannot change it"),
        (
            "trainer.learning_rate=5e-4",
            r"^trainer\.learning_rate: .*0\.001, now it is 0\.0005: .*--allow trainer\.learning_rate",
        ),
        ("method.target=0.2", r"^method\.target: .*--allow method\.target"),
        ("task.max_target=50", r"^task\.max_target: "),
    ],
)
def test_a_changed_configuration_is_refused_by_name(copy: Path, setting: str, message: str) -> None:
    config = resolve(load_config(copy / "config.yaml", ["steps=6", setting]))
    (copy / "config.yaml").write_text(config.to_yaml())  # as an editor would
    before = (copy / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=message):
        go_on(copy)
    assert (copy / "config.yaml").read_text() == before and (copy / "summary.json").exists()


def test_a_saved_setting_that_is_refused_by_now_can_be_given_up(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`threads` of a larger machine is refused by its range, `run_name` because nothing reads it."""
    values = parse((copy / "config.yaml").read_text(), "")
    values["threads"], values["trainer"]["run_name"] = 100_000, "x"
    (copy / "config.yaml").write_text(dump(values))
    path = copy / "checkpoints" / "checkpoint-4" / "run.json"
    saved = json.loads(path.read_text())
    saved["config"]["threads"], saved["config"]["trainer"]["run_name"] = 100_000, "x"
    path.write_text(json.dumps(saved))
    assert call("train", "--resume", str(copy), "steps=5") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: threads: ") and "KEY=VALUE (null leaves it out) and --allow KEY" in said
    words = ["--resume", str(copy), "steps=5", "threads=1", "trainer.run_name=null", "--quiet"]
    assert call("train", *words, "--allow", "threads") == 2
    assert "add --allow trainer.run_name" in capsys.readouterr().err
    assert call("train", *words, "--allow", "threads", "--allow", "trainer.run_name") == 0, capsys.readouterr().err
    assert len(Run.load(copy).metrics) == 5


def test_other_versions_are_refused_by_name(copy: Path) -> None:
    path = copy / "checkpoints" / "checkpoint-4" / "run.json"
    saved = json.loads(path.read_text())
    saved["packages"]["torch"] = "1.0"
    path.write_text(json.dumps(saved))
    with pytest.raises(ConfigError, match=r"^packages\.torch: .*'1\.0'.*--allow packages\.torch"):
        go_on(copy, "steps=6")
    progress = Told()
    assert go_on(copy, "steps=5", allow=("packages.torch",), progress=progress).finished
    assert progress.notes[0].startswith("changed from step 5 on: packages.torch, from '1.0'")


def test_what_was_learnt_is_kept_under_another_target_and_learning_rate(copy: Path) -> None:
    state = json.loads((copy / "checkpoints" / "checkpoint-4" / "entrostat_state.json").read_text())
    allow = ("method.target", "trainer.learning_rate")
    assert go_on(copy, "steps=6", "method.target=0.2", "trainer.learning_rate=5e-4", allow=allow).finished
    rows = Run.load(copy).metrics
    assert [row["entropy_control/target"] for row in rows] == [0.3] * 4 + [0.2] * 2
    assert [row["learning_rate"] for row in rows] == [1e-3] * 4 + [5e-4] * 2
    after = json.loads((copy / "checkpoints" / "checkpoint-6" / "entrostat_state.json").read_text())
    assert (state["steps"], after["steps"]) == (4, 6)
    (line,) = (json.loads(line) for line in (copy / "changes.jsonl").read_text().splitlines())
    assert line == {"step": 4, "changed": {"method.target": [0.3, 0.2], "trainer.learning_rate": [1e-3, 5e-4]}}


def test_checkpoints_are_rotated_by_step_whatever_the_clock_says(copy: Path) -> None:
    for path in (copy / "checkpoints").iterdir():
        os.utime(path, (time.time() + 3600,) * 2)
    go_on(copy, "steps=10")
    assert [path.name for path in checkpoints.listed(copy / "checkpoints")] == [
        "checkpoint-6",
        "checkpoint-8",
        "checkpoint-10",
    ]


def test_a_run_made_longer_equals_a_long_one(copy: Path, tmp_path: Path) -> None:
    run(tmp_path / "whole", *PLAIN, "steps=6")
    go_on(copy, "steps=6")
    clockless = [
        [{k: v for k, v in timeless(row).items() if k != "epoch"} for row in Run.load(f).metrics]
        for f in (tmp_path / "whole", copy)
    ]
    assert clockless[0] == clockless[1]


def test_nothing_is_removed_behind_a_symbolic_link(copy: Path, tmp_path: Path) -> None:
    (copy / "checkpoints").rename(tmp_path / "elsewhere")
    (copy / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"checkpoints is a symbolic link"):
        go_on(copy, "steps=10")
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2


def test_a_save_that_fails_says_its_own_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the moon is full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(SaveError, match=r"step 1 in .*: the moon is full\. Earlier") as caught:
        run(tmp_path, *PLAIN, "steps=1")
    assert "disk" not in str(caught.value)
