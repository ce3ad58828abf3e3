"""`entrostat train` and `entrostat demo` as a user calls them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import yaml
from cli.test_main import call
from run.small_run import SMALL, THIRD_PARTY

from entrostat.cli import _progress
from entrostat.cli.demo import meaning
from entrostat.run.record import Run

pytestmark = [pytest.mark.filterwarnings(each) for each in THIRD_PARTY]


def test_dry_run_prints_the_resolved_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("steps: 12\nmethod: {name: entropic, threshold: 0.9}\n")
    assert call("train", str(file), "seed=4", "--dry-run", "--out", str(tmp_path / "run")) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["steps"], printed["seed"]) == (12, 4)
    assert printed["method"] == {"name": "entropic", "threshold": 0.9}
    assert printed["trainer"]["lr_scheduler_type"] == "constant"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [("trainer.learning_rte=1",), ("method.kp=-1",), ("steps=-1",), ("a.yaml", "b.yaml")])
def test_wrong_settings_are_exit_code_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", *words, "--dry-run") == 2
    captured = capsys.readouterr()
    assert words[0].partition("=")[0] in captured.err and captured.err.count("\n") == 1


def test_a_run_from_start_to_figure_and_no_second_one_over_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert call("train", *SMALL, "steps=2", "method.target=initial", "--out", str(out)) == 0
    printed = capsys.readouterr().out
    for part in (
        "step 2/2  entropy 0.",
        "held-out pass@1",
        f"run folder: {out}",
        "held-out solved in every try",
        f"next: entrostat diagnose {out}; entrostat report {out}",
    ):
        assert part in printed
    run = Run.load(out)
    assert run.config["method"]["target"] == "initial"
    measured, targets = (run.column(f"entropy_control/{name}")[1] for name in ("measured", "target"))
    assert 0.1 < measured[0] < 0.5 and targets == [measured[0]] * 2
    assert matplotlib.image.imread(out / "entropy.png").std() > 0
    assert call("train", *SMALL, "--out", str(out)) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert call("train", "--resume", str(out), "seed=3") == 2
    assert "seed=3: a resumed run cannot change this setting" in capsys.readouterr().err
    assert call("train", "--resume", str(out), "steps=3", "--quiet") == 0
    assert Run.load(out).summary["steps"] == 3


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: _progress.View, step: int, metrics: object) -> None:
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(_progress.Plain, "step", interrupt)
    before = signal.getsignal(signal.SIGINT)  # ignored, where the suite runs in the background of a shell
    assert call("train", *SMALL, "--out", str(tmp_path)) == 130
    assert f"stopped after step 2; go on with: entrostat train --resume {tmp_path}" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before


def test_the_demo_trains_both_and_compares_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [word for word in SMALL if not word.startswith("method")]
    assert call("demo", *small, "steps=2", "--target", "0.3", "--out", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "plain GRPO  step 2/2" in printed and "hold  step 2/2" in printed and "error over the second half" in printed
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["plain GRPO"]["entropy"]["start"] == summary["hold"]["entropy"]["start"]  # the same start
    assert summary["plain GRPO"]["entropy"]["target_end"] == 0.3
    assert matplotlib.image.imread(tmp_path / "entropy.png").std() > 0
    assert call("demo", "--out", str(tmp_path)) == 2
    assert call("demo", "method=observe") == 2
    capsys.readouterr()
    assert call("demo", "--target", "99", "--out", str(tmp_path / "high")) == 2
    assert "target entropy 99.0 is above log V" in capsys.readouterr().err and not (tmp_path / "high").exists()


def test_the_demo_says_what_its_picture_means() -> None:
    def summary(end: float, agree: float | None) -> dict[str, Any]:
        return {"entropy": {"start": 0.26, "end": end, "target_end": 0.2}, "groups_without_spread": {"end": agree}}

    text = meaning(summary(0.13, 0.31), summary(0.2, 0.12))
    assert text == (
        "What it means: plain GRPO took the policy's entropy from 0.26 to 0.13 nats, hold kept it at 0.20 (asked for: 0.20); "
        "31% of plain GRPO's groups and 12% of hold's had rewards that all agree, and taught nothing."
    )
    assert meaning(summary(0.13, None), summary(0.2, 0.12)).endswith("(asked for: 0.20).")


def test_a_demo_whose_run_fails_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("demo", "trainer.num_generations=1", "--out", str(tmp_path)) == 2
    assert "failed: error: trainer.num_generations: " in capsys.readouterr().err
