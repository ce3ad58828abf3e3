"""Run folders: who may write, what is written, how it reads back."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from run.small_run import run

from entrostat.errors import ConfigError, DataError
from entrostat.run.folder import MetricsFile, claim, default_path, read_metrics, write_json
from entrostat.run.record import Run
from entrostat.run.summary import summarize


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of three steps."""
    folder = tmp_path_factory.mktemp("runs") / "made"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other tests of this folder watch them
        run(folder, "steps=3")
    return folder


def test_tokens_are_recorded_under_a_method_that_needs_only_the_entropy(tmp_path: Path) -> None:
    run(tmp_path / "run", "steps=1", "method.name=skywork", "eval.problems=0")
    (record,) = (tmp_path / "run" / "tokens").iterdir()
    assert record.name == "step-00000001.safetensors" and record.stat().st_size > 1000


def test_a_folder_holds_everything_about_its_run(made: Path) -> None:
    names = {path.name for path in made.iterdir()}
    assert names >= {"config.yaml", "metrics.jsonl", "env.json", "summary.json", "checkpoints"}
    found = Run.load(made)
    assert [row["step"] for row in found.metrics] == [0, 1, 2, 3]
    assert found.name == "flow" and found.config["trainer"]["num_generations"] == 8
    assert set(found.environment) >= {"python", "packages", "machine", "git", "threads"}
    assert found.environment["packages"]["trl"]


def test_a_line_has_every_metric_of_the_host_and_ours(made: Path) -> None:
    first, second = Run.load(made).steps[:2]
    for key in ("loss", "grad_norm", "learning_rate", "reward", "reward_std", "completions/mean_length", "step_time"):
        assert key in first
    for key in ("measured", "target", "error", "output", "saturated", "authority"):
        assert f"entropy_control/{key}" in first
    assert {"token_entropy/mean", "elapsed", "entropy"} <= set(first)
    assert "eval/avg@2" not in first
    assert {"eval/avg@2", "eval/pass@1", "eval/greedy", "eval/always", "eval/sometimes", "eval/never"} <= set(second)


def test_the_summary_says_how_it_went(made: Path) -> None:
    summary = Run.load(made).summary
    assert summary["method"] == "flow" and summary["seed"] == 0 and summary["steps"] == 3
    assert summary["fingerprint"] and summary["train_seconds"] > 0
    assert summary["entropy"]["target_end"] == 0.3
    assert set(summary["entropy"]["second_half"]) >= {"rms_error", "mean_error", "relative_rms_error"}
    assert 0 <= summary["groups_without_spread"]["end"] <= 1 and "greedy" in summary["eval"]["end"]
    assert summary["eval"]["start"]["step"] == 0 and summary["eval"]["end"]["step"] == 3


def test_a_folder_with_a_run_is_refused(made: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds a finished run.*--resume"), claim(made):
        pass


def test_the_metrics_of_another_trainer_are_not_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    with pytest.raises(ConfigError, match=r"holds the metrics\.jsonl of something else"), claim(tmp_path):
        pass


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    script = f"from entrostat.run.folder import claim\nwith claim({str(tmp_path)!r}): pass"
    with claim(tmp_path):
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert other.returncode == 1 and "is in use by another run" in other.stderr
    with claim(tmp_path):
        pass  # free again


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run to resume"), claim(tmp_path / "nothing", resume=True):
        pass
    assert not (tmp_path / "nothing").exists()


def test_metrics_go_on_after_a_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n{"step": 3, "re')
    file = MetricsFile(path, 1)
    file.append({"step": 2, "again": math.nan})
    file.close()
    assert read_metrics(path) == [{"step": 0}, {"step": 1}, {"step": 2, "again": None}]


def test_json_never_holds_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [math.inf, 1.5], "b": {"c": math.nan}})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [None, 1.5], "b": {"c": None}}


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no run: it has no config\.yaml"):
        Run.load(tmp_path)
    (tmp_path / "config.yaml").write_text("steps: 1\n")
    assert Run.load(tmp_path).metrics == []
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        Run.load(tmp_path)


def test_errors_are_taken_over_the_second_half() -> None:
    rows = [
        {"step": i, "entropy_control/measured": m, "entropy_control/target": 0.5, "reward": 0.1 * i}
        for i, m in enumerate([9.0, 9.0, 0.6, 0.4], start=1)
    ]
    found = summarize(rows)
    second_half = found["entropy"]["second_half"]
    assert second_half["mean_error"] == pytest.approx(0, abs=1e-12)
    assert second_half["rms_error"] == pytest.approx(0.1)
    assert second_half["relative_rms_error"] == pytest.approx(0.2)
    assert found["reward"] == {"start": 0.1, "end": pytest.approx(0.4)}
    plain = [{k: v for k, v in row.items() if "target" not in k} for row in rows]
    assert summarize(plain)["entropy"]["second_half"] is None
    assert summarize(plain, target=0.5)["entropy"]["second_half"] == second_half
    assert summarize([]) == {"steps": 0}


def test_runs_that_start_within_a_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "20261127-234455")
    names = []
    for _ in range(3):
        folder = default_path("hold", tmp_path)
        folder.mkdir()
        names.append(folder.name)
    assert names == ["20261127-234455-hold", "20261127-234455-hold-2", "20261127-234455-hold-3"]
