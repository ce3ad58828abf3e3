"""`entrostat simulate` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.image
import pytest
from cli.test_main import call
from matplotlib.figure import Figure

from entrostat.run.record import Run

ROOT = Path(__file__).parents[2]


def test_a_linear_plant_from_words_to_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sim"
    words = ("method.target=0.22", "method.kp=17", "method.ki=0.3", "steps=300", "events=[{at: 200, learning_rate: 2}]")
    assert call("simulate", *words, "--out", str(out)) == 0
    printed = capsys.readouterr().out
    for part in ("hold on linear", "[nats]", "overshoot", "recovery from step 200", "stable, gain margin", str(out)):
        assert part in printed
    found = json.loads((out / "simulation.json").read_text())
    assert found["response"]["rms_error"] < 0.02 and found["theory"]["stable"] and found["plant"]["momentum"] == 0.86
    run = Run.load(out)  # a simulated run reads like a real one
    assert len(run.steps) == 300 and run.column("entropy_control/target")[1] == [0.22] * 300
    assert matplotlib.image.imread(out / "response.png").std() > 0
    assert call("simulate", "--out", str(out)) == 2
    assert "holds a simulation: choose another --out" in capsys.readouterr().err
    assert call("train", "--resume", str(out)) == 2
    assert "it holds a simulation" in capsys.readouterr().err


def test_a_tabular_plant_and_a_picture_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("plant={name: tabular, arms: 16, updates: 2, momentum: 0.5}", "method.target=1.5", "steps=150")
    assert call("simulate", *words, "--out", str(tmp_path / "a.png")) == 0
    printed = capsys.readouterr().out
    assert "hold on tabular" in printed and "reward, start -> end" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_no_batch_has_an_entropy_below_zero(tmp_path: Path) -> None:
    out = tmp_path / "sim"
    assert call("simulate", "method=observe", "steps=300", "--out", str(out)) == 0
    measured = Run.load(out).column("entropy_control/measured")[1]
    assert min(measured) == 0 and measured[-1] < 0.05


@pytest.mark.parametrize(("noise", "mean"), [(0.006, True), (0.0, False)])
def test_the_mean_that_is_judged_is_drawn(
    noise: float, mean: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single steps leave the band that their mean stays in."""
    labels: list[str] = []

    def kept(figure: Figure, *_: object, **__: object) -> None:
        labels.extend(text.get_text() for text in figure.axes[0].get_legend().get_texts())

    monkeypatch.setattr(Figure, "savefig", kept)
    assert call("simulate", "method.target=0.2", f"plant.noise={noise}", "--out", str(tmp_path / "a.png")) == 0
    assert ("mean over 9 steps" in labels) == mean and "counts as settled" in labels


@pytest.mark.parametrize(
    ("controller", "end"),
    # P alone leaves the error drift / (gain kp) = -0.0015 / 0.055.
    [("{self_tuning: {target: 0.22, settling: 40}}", "0.220"), ("{p: {target: 0.22, kp: 10}}", "0.193")],
)
def test_any_controller_by_its_name(
    controller: str, end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"method.controller={controller}", "plant.noise=0", "plant.wander=0", "steps=400")
    assert call("simulate", *words, "--out", str(tmp_path / "a.png")) == 0
    assert f"0.260 -> {end}" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "momentum"), [((), 0.0), (("plant.momentum=0.5",), 0.5)])
def test_an_actuator_past_the_optimizer_meets_no_momentum(
    words: tuple[str, ...], momentum: float, tmp_path: Path
) -> None:
    out = tmp_path / "sim"
    assert call("simulate", "method=temperature", "method.target=0.22", "steps=300", *words, "--out", str(out)) == 0
    found = json.loads((out / "simulation.json").read_text())
    assert found["plant"]["momentum"] == momentum
    assert found["response"]["rms_error"] < 0.01


def test_the_file_of_a_training_run_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("simulate", str(ROOT / "examples" / "off_policy.yaml"), "--out", str(tmp_path / "a.png")) == 0
    assert "120; " in capsys.readouterr().out  # its steps


def test_without_a_target_there_is_no_response(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("simulate", "method=observe", "steps=50", "--out", str(tmp_path / "sim")) == 0
    assert "overshoot" not in capsys.readouterr().out
    assert "response" not in json.loads((tmp_path / "sim" / "simulation.json").read_text())


def test_a_loop_that_the_theory_calls_unstable_swings(tmp_path: Path) -> None:
    words = ("method.target=0.26", "method.kp=400", "method.ki=1", "method.limits=[-1000, 1000]", "plant.momentum=0")
    out = tmp_path / "sim"
    assert call("simulate", *words, "plant.noise=0", "plant.drift=-0.001", "--out", str(out)) == 0
    found = json.loads((out / "simulation.json").read_text())
    assert (
        not found["theory"]["stable"] and found["response"]["settling"] is None and found["response"]["rms_error"] > 0.1
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plant.gian=1",), "plant.gian: unknown key (did you mean 'gain'?)"),
        (("plant.gain=-1",), "plant.gain: gain of the plant must be zero or more, got -1"),
        (("plant={name: tabular, arms: 1}",), "plant.arms: a bandit needs at least 2 arms"),
        (("plant={name: tabular, gain: 1}",), "plant.gain: unknown key"),
        (("plant=nowhere",), "plant: 'nowhere' is neither"),
        (("events=[{drift: 1}]",), "events.0.at: is needed"),
        (("events=[{at: 3, drfit: 1}]",), "events.0.drfit: unknown key (did you mean 'drift'?)"),
        (
            ("events=[{at: 3, drift: 1}, {at: 40, noise: 1}]", "steps=40"),
            "events.1.at: must be below steps (40), got 40",
        ),
        (("step=3",), "step: unknown key (did you mean 'steps'?)"),
        (("trainer.learning_rate=1",), "trainer: unknown key"),
        (("method.kp=-1",), "method.kp"),
        (("band=2",), "band: input should be less than 1"),
    ],
)
def test_wrong_settings_name_their_key(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("simulate", *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("method", ["hold", "flow"])
def test_the_plant_behind_a_run_whichever_way_its_output_acts(method: str, tmp_path: Path) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    words = (f"method.name={method}", "method.target=0.2")
    assert call("simulate", *words, "plant.gain=0.008", "steps=300", "--out", str(run)) == 0
    assert call("simulate", f"plant={run}", *words, "steps=200", "--out", str(again)) == 0
    found = json.loads((again / "simulation.json").read_text())
    assert found["plant"]["gain"] == pytest.approx(0.008, rel=0.4)
    assert found["response"]["rms_error"] < 0.02


def test_a_folder_in_use_is_refused_before_anything_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").touch()
    assert call("simulate", "steps=20", "--out", str(tmp_path)) == 2
    said = capsys.readouterr()
    assert said.out == "" and str(tmp_path) in said.err
