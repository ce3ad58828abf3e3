"""A run that predicts its entropy: what it logs, and that stopping and going on changes none of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from run.small_run import THIRD_PARTY, Told, go_on, run, timeless

from entrostat.run.folder import PROMPTS, read_metrics
from entrostat.run.record import Run

pytestmark = [pytest.mark.filterwarnings(each) for each in THIRD_PARTY]

ASKED = ("predict.every=2", "predict.prompts=true", "predict.visited_states=true", "eval.problems=0")
PREDICTED = "entropy_prediction/predicted"


def untimed(row: dict) -> dict:
    return {key: value for key, value in timeless(row).items() if key != "entropy_prediction/seconds"}


def test_predictions_are_in_the_log_and_survive_a_resume(tmp_path: Path) -> None:
    run(tmp_path / "whole", *ASKED)
    stop = Told(lambda now: os.kill(os.getpid(), signal.SIGINT) if now == 3 else None)
    assert not run(tmp_path / "broken", *ASKED, "trainer.save_steps=2", progress=stop).finished
    assert go_on(tmp_path / "broken").finished
    whole, broken = (Run.load(tmp_path / name) for name in ("whole", "broken"))
    assert whole.column(PREDICTED)[0] == [1, 3, 5]  # the first step, and every second from there
    assert whole.column("entropy_prediction/measured_same_batch")[0] == [1, 3, 5]
    assert list(map(untimed, broken.metrics)) == list(map(untimed, whole.metrics))
    tables = [read_metrics(tmp_path / name / PROMPTS) for name in ("whole", "broken")]
    assert [row["step"] for row in tables[0]] == [1, 3, 5]
    assert tables[0] == tables[1]


def test_a_run_that_predicts_trains_the_same_policy(tmp_path: Path) -> None:
    run(tmp_path / "plain", "eval.problems=0")
    run(tmp_path / "asked", "eval.problems=0", "predict.every=1")
    plain, asked = (Run.load(tmp_path / name) for name in ("plain", "asked"))
    without = [{k: v for k, v in row.items() if not k.startswith("entropy_prediction/")} for row in asked.metrics]
    assert list(map(timeless, without)) == list(map(timeless, plain.metrics))
    assert not (tmp_path / "asked" / PROMPTS).exists()
