"""Findings: each fault by its signs, none in healthy runs, in words that a person can use."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from entrostat.diagnosis import REGISTER, diagnose
from entrostat.diagnosis.advice import ADVICE, advice_for
from entrostat.diagnosis.findings import FEWEST, SEVERITIES
from entrostat.diagnosis.page import page
from entrostat.diagnosis.plot import plot
from entrostat.diagnosis.rules import RULES
from entrostat.logs import read

ROOT = Path(__file__).parents[2]


def load() -> ModuleType:
    folder = str(ROOT / "benchmarks" / "quality" / "diagnose")
    sys.path.insert(0, folder)  # its files import each other
    try:
        return importlib.import_module("synthetic")
    finally:
        sys.path.remove(folder)


synthetic = load()
HEALTHY = [name for name, (label, *_) in synthetic.KINDS.items() if not label]
FAULTS = [name for name, (label, *_) in synthetic.KINDS.items() if label]


def findings_of(tmp_path: Path, rows: list[dict]) -> list:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [finding for run in read(path) for finding in diagnose(run)]


def rows_of(count: int = 100, **columns: object) -> list[dict]:
    """Rows of a plain run, whose columns a test replaces; callables get the share of the run that is over."""
    usual = {"entropy": 0.4, "reward": 0.3, "grad_norm": 0.2, "completions/mean_length": 200.0}
    rows = []
    for i in range(count):
        wiggle = 1 + 0.02 * ((7 * i) % 5 - 2)
        row: dict = {"step": i + 1}
        for key, value in {**usual, **columns}.items():
            value = value(i / count) if callable(value) else value
            row[key] = value * wiggle if isinstance(value, float) else value
        rows.append(row)
    return rows


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_found_by_its_code(kind: str, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        case = synthetic.case(kind, seed)
        found = findings_of(tmp_path, case.rows)
        assert case.label in {finding.code for finding in found}, case.name
        wrong = {f.code for f in found if f.severity != "remark"} - {case.label} - case.also
        assert not wrong, case.name


@pytest.mark.parametrize("kind", HEALTHY)
def test_a_healthy_run_raises_no_alarm(kind: str, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        alarms = [f for f in findings_of(tmp_path, synthetic.case(kind, seed).rows) if f.severity != "remark"]
        assert not alarms, (seed, alarms)


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if synthetic.KINDS[kind][0] in FEWEST])
def test_too_few_rows_show_no_fault(kind: str, tmp_path: Path) -> None:
    """What is told of a short log holds: whichever rows of a fault it has, the fault is not found in them."""
    case = synthetic.case(kind, 1)
    few = FEWEST[case.label] - 1
    for first in range(0, len(case.rows) - few, max(1, len(case.rows) // 20)):
        assert case.label not in {found.code for found in findings_of(tmp_path, case.rows[first : first + few])}


def test_six_rows_are_enough_for_what_they_can_show(tmp_path: Path) -> None:
    rows = rows_of(6, frac_reward_zero_std=0.95)
    assert min(FEWEST.values()) == 6
    assert "E301" in {found.code for found in findings_of(tmp_path, rows)}
    assert "E301" not in {found.code for found in findings_of(tmp_path, rows[:5])}


def test_every_kind_of_fault_has_a_run_a_rule_and_advice() -> None:
    labels = {label for label, *_ in synthetic.KINDS.values() if label}
    assert labels == set(REGISTER) == set(RULES) == set(ADVICE)
    assert all(entry.severity in SEVERITIES for entry in REGISTER.values())


def test_the_page_of_symptoms_is_the_register() -> None:
    assert (ROOT / "docs" / "troubleshooting.md").read_text() == page(), "python -m "
    "entrostat.diagnosis.page > docs/troubleshooting.md"


def test_low_entropy_alone_is_no_fault(tmp_path: Path) -> None:
    down = rows_of(entropy=lambda t: 0.02 + 0.9 * np.exp(-20 * t), reward=lambda t: 0.88 - 0.8 * float(np.exp(-8 * t)))
    assert not [f for f in findings_of(tmp_path, down) if f.severity != "remark"]
    # The same fall beside a reward that is lost, groups without spread, and a gradient of 0.
    ruined = rows_of(
        entropy=lambda t: 0.02 + 0.9 * float(np.exp(-20 * t)),
        reward=lambda t: 0.3 * float(t < 0.3) + 0.05,
        frac_reward_zero_std=lambda t: 1 if t > 0.3 else 0.1,
        grad_norm=lambda t: 0 if t > 0.5 else 0.2,
    )
    first = findings_of(tmp_path, ruined)[0]
    assert first.code == "E101" and first.severity == "severe" and first.confidence > 0.8


@pytest.mark.parametrize(("target", "named"), [(0.02, True), (0.6, False)])
def test_a_collapse_that_the_target_asks_for_is_called_so(target: float, named: bool, tmp_path: Path) -> None:
    """To hold the entropy, as the advice says, is what this run does already."""
    first = findings_of(
        tmp_path,
        rows_of(
            entropy=lambda t: 0.02 + 0.9 * float(np.exp(-20 * t)),
            reward=lambda t: 0.3 * float(t < 0.3) + 0.05,
            frac_reward_zero_std=lambda t: 1 if t > 0.3 else 0.1,
            **{"entropy_control/target": target},
        ),
    )[0]
    assert first.code == "E101" and (f"Its target asks for that ({target} nats at the end)" in first.text) == named


def test_a_rise_is_judged_by_the_reward(tmp_path: Path) -> None:
    rise = {"entropy": lambda t: 0.4 + 4 * float(t > 0.5)}
    assert "E102" in {f.code for f in findings_of(tmp_path, rows_of(**rise, reward=lambda t: 0.6 * float(t < 0.6)))}
    kept = findings_of(tmp_path, rows_of(entropy=lambda t: 0.4 + t, reward=lambda t: 0.2 + 0.5 * t))
    assert not [f for f in kept if f.severity != "remark"]


def test_a_solved_task_is_no_lack_of_signal(tmp_path: Path) -> None:
    found = findings_of(
        tmp_path, rows_of(reward=lambda t: min(1.0, 0.3 + 2 * t) / 1.05, frac_reward_zero_std=lambda t: min(0.9, 3 * t))
    )
    assert [(f.code, f.severity) for f in found if f.code == "E301"] == [("E301", "remark")]


def test_a_factor_is_named(tmp_path: Path) -> None:
    found = findings_of(tmp_path, rows_of(entropy=lambda t: 0.4 * (1.4427 if t >= 0.5 else 1)))
    assert any(f.code == "E403" and "bits and nats" in f.text and f.steps == (50, 51) for f in found)


def test_few_rows_and_odd_values_raise_nothing(tmp_path: Path) -> None:
    """Every rule survives what a log may hold."""
    for count in (1, 2, 3, 7, 12):
        findings_of(tmp_path, rows_of(count))
    for value in (0.0, -1.0, float("nan"), float("inf"), 1e308, 1e-320):
        for key in ("entropy", "reward", "grad_norm", "completions/mean_length", "loss", "entropy_control/output"):
            findings_of(tmp_path, rows_of(60, **{key: lambda t, value=value: value if t > 0.5 else 1}, target=0.3))


def test_advice_speaks_the_host_s_words() -> None:
    assert "epsilon_high" in advice_for("E101", "trl") and "actor_rollout_ref" not in advice_for("E101", "trl")
    assert "clip_ratio_high" in advice_for("E101", "verl") and "es.trl" not in advice_for("E101", "verl")
    both = advice_for("E101", "slime")
    assert "epsilon_high" in both and "clip_ratio_high" in both


def test_the_plot_keeps_the_height_of_a_spike(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    rows = rows_of(count=300, grad_norm=lambda t: 0.2 + 5e4 * float(0.5 <= t < 0.503))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = read(path)[0]
    finding = next(f for f in diagnose(run) if f.code == "E305")
    assert float(plot(run, finding)[0].split()[0]) == pytest.approx(5e4, rel=0.05)


def test_the_plot_holds_the_curve_and_marks_the_evidence(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    rows = rows_of(entropy=lambda t: 0.4 + 4 * float(t > 0.5), reward=lambda t: 0.6 * float(t < 0.6))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = read(path)[0]
    finding = next(f for f in diagnose(run) if f.code == "E102")
    lines = plot(run, finding)
    assert lines[0].split()[0] == "4.49" and "█" in lines[0] and "^" in lines[-2] and "step 100" in lines[-1]
    assert max(map(len, lines)) <= 80
