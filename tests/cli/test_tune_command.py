"""`entrostat tune` as a user calls it: on simulated runs, whose plant is known, and on a probe of the tiny policy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import pytest
import yaml
from cli.test_main import call
from run.small_run import SMALL, THIRD_PARTY

import entrostat as es
from entrostat.lab.tune import Tuning, actuator_of
from entrostat.run.record import Run

pytestmark = [pytest.mark.filterwarnings(each) for each in THIRD_PARTY]


def simulated(folder: Path, *words: str) -> str:
    assert call("simulate", *words, "--out", str(folder)) == 0
    return str(folder)


def test_a_simulated_run_gives_its_plant_and_gains_that_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = simulated(tmp_path / "a", "method.target=0.22", "method.kp=20", "steps=300", "plant.gain=0.004")
    capsys.readouterr()
    chart = tmp_path / "map.png"
    assert call("tune", run, "--settling", "150", "--json", "--map", str(chart)) == 0
    found = json.loads(capsys.readouterr().out)
    assert any(note.startswith("columns:") for note in found["notes"])
    assert call("tune", run, "--settling", "150") == 0
    printed = capsys.readouterr().out
    assert found["gain_known"] and found["plant"]["gain"] == pytest.approx(0.004, rel=0.3)
    assert found["gains"]["settling"] <= 150 and found["margin"] > 5
    assert matplotlib.image.imread(chart).std() > 0
    # The YAML is what train and simulate take; a run with these gains settles as promised.
    pasted = tmp_path / "pasted.yaml"
    pasted.write_text(printed[printed.index("method:") :])
    assert yaml.safe_load(pasted.read_text())["method"]["target"] == 0.22
    quiet = ("plant.gain=0.004", "plant.noise=0", "plant.wander=0", "plant.drift=0", "steps=600")
    again = simulated(tmp_path / "b", str(pasted), *quiet)
    assert json.loads((Path(again) / "simulation.json").read_text())["response"]["settling"] < 200


def test_csv_without_a_plant_is_told_from_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.csv"
    log.write_text("entropy,u\n" + "".join(f"{0.3 + 0.01 * ((7 * i) % 5)},{(i // 6) % 2}\n" for i in range(60)))
    assert call("tune", str(log)) == 1
    printed = capsys.readouterr().out
    assert (
        "no gains" in printed
        and "neither it nor its sign can be told from noise" in printed
        and "method:" not in printed
    )


def test_a_wish_too_fast_for_the_lag_is_refused_with_the_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = simulated(tmp_path / "a", "method.target=0.2", "steps=300")
    assert call("tune", run, "--settling", "30", "--momentum", "0.9") == 0
    printed = capsys.readouterr().out
    assert "no PI gains settle within 30 steps" in printed and "trainer.adam_beta1" in printed


def test_a_drift_beyond_the_limits_is_a_lack_of_authority(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "plant.gain=0.002",
        "plant.drift=-0.006",
        "plant.start=3",
        "method.target=2.9",
        "method.kp=50",
        "steps=200",
    )
    assert call("tune", simulated(tmp_path / "a", *words)) == 0
    assert "no gains hold the entropy" in " ".join(capsys.readouterr().out.split())


def test_an_actuator_that_raises_and_has_no_gains_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coef = "method={name: entropy_bonus, coef: {pi: {target: 0.3, kp: 20, ki: 0.4, limits: [-2, 2]}}}"
    assert call("tune", simulated(tmp_path / "a", coef, "steps=300")) == 0
    printed = capsys.readouterr().out
    knob = yaml.safe_load(printed[printed.index("method:") :])["method"]["coef"]["pi"]
    assert knob["target"] == 0.3 and knob["kp"] > 0 and knob["limits"] == [-2, 2]
    # The drift of the plant, -0.0015, wants a bonus: a positive coefficient.
    assert float(re.search(r"cancels the drift\s+(\S+)", printed)[1]) == pytest.approx(0.0015 / 0.0055, rel=0.3)


def test_a_log_alone_says_which_way_its_output_acts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As verl's file logger writes it: no configuration, but what the lowest and the highest output would do."""
    run = Path(simulated(tmp_path / "a", "method.target=0.2", "plant.gain=0.01", "steps=200"))
    log = tmp_path / "log.jsonl"
    authority = {"entropy_control/authority_low": -0.02, "entropy_control/authority_high": 0.02}
    rows = [json.loads(line) | authority for line in (run / "metrics.jsonl").read_text().splitlines()]
    log.write_text("".join(json.dumps({"step": row["step"], "data": row}) + "\n" for row in rows))
    assert call("tune", str(log)) == 0
    assert "name: hold" in capsys.readouterr().out


def test_entropic_s_gains_are_for_its_reading_of_the_integral(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = "method={name: entropic, target: 0.22, kp: 20, ki: 0.4}"
    run = simulated(tmp_path / "a", method, "steps=300")
    capsys.readouterr()
    assert call("tune", run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["gains"]["loop"]["integral_read"] == "before"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give one run folder"),
        (("a", "b"), "give one run folder"),
        (("a", "--amplitude", "1"), "belong to --probe"),
        (("a", "--json", "numbers.json"), "--json: prints, and takes no file, got 'numbers.json': write --json >"),
        (("--probe", "steps=5"), "a probe needs at least"),
        (("--probe", "method=observe"), "has no knob"),
        (("--probe", "--amplitude", "-1"), "--amplitude must be"),
    ],
)
def test_wrong_words(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("tune", *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:every advantage was 0")  # what the probe is for takes the policy there
def test_a_probe_of_the_real_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "probe"
    small = [word for word in SMALL if not word.startswith(("steps", "eval"))]
    code = call("tune", "--probe", *small, "steps=20", "--amplitude", "1.5", "--out", str(out))
    printed = capsys.readouterr().out
    assert code in (0, 1) and "gain [nats per unit of output and step]" in printed  # twenty small steps may not tell it
    assert ("no gains" in printed) == (code == 1)
    _, output = Run.load(out).column("entropy_control/flow/u")
    assert output == [0.0] * 4 + [1.5] * 8 + [-1.5] * 8


@pytest.mark.parametrize(
    ("name", "knob"), [("temperature", "controller"), ("positive_reweighting", "weight"), ("repo_r", "zeta")]
)
def test_gains_for_a_method_whose_rule_they_replace(name: str, knob: str) -> None:
    """They come without the settings of the rule, which would be refused beside them."""
    gains = SimpleNamespace(loop=SimpleNamespace(kp=2.0, ki=0.1))
    actuator = actuator_of({"method": {"name": name, "target": 0.3}})
    section = yaml.safe_load(Tuning(log=None, plant=None, delay=1, actuator=actuator, gains=gains).yaml)["method"]  # type: ignore[arg-type]
    assert set(section) == {"name", knob} and section[knob]["pi"]["target"] == 0.3
    assert es.make(**section).targets == [0.3]
