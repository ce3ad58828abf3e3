"""`entrostat compare`, on runs that are finished already: names, intervals, pairing, what is refused."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from entrostat.cli import compare
from entrostat.cli._closing import TRIES
from entrostat.errors import ConfigError
from entrostat.run.compare import COMPARISON, Arm, cases, collect, interval, mean_run
from entrostat.run.record import Run

SETTINGS = ["steps=3"]


def finished(folder: Path, method: str, reward: float) -> None:
    """A run folder as `entrostat train` leaves it, with numbers of our own."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"method: {{name: {method}}}\n")
    rows = [{"step": t, "entropy_control/measured": 0.2 + reward / 10, "reward": reward} for t in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = {
        "steps": 3,
        "entropy": {"end": 0.2},
        "reward": {"end": reward},
        "eval": {"end": {"step": 3, "avg@8": reward}},
    }
    (folder / "summary.json").write_text(json.dumps(summary | {"train_seconds": 6.0}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, (plain, held) in enumerate([(0.40, 0.45), (0.60, 0.66), (0.50, 0.54)]):
        finished(tmp_path / "observe" / f"seed-{seed}", "observe", plain)
        finished(tmp_path / "hold" / f"seed-{seed}", "hold", held)
    return tmp_path


def run(folder: Path, settings: list[str] = SETTINGS, methods: str = "observe,hold", seeds: int = 3) -> None:
    compare.command(settings, methods, [], seeds, folder, 2)


def test_finished_runs_are_compared_and_not_run_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder)
    record = json.loads((folder / COMPARISON).read_text())
    held = record["arms"]["hold"]
    assert held["seeds"] == [0, 1, 2]
    assert held["numbers"]["reward"]["mean"] == pytest.approx(0.55)
    assert held["numbers"]["seconds per step"]["mean"] == 2.0
    # Paired by seed: the seeds' own spread, 0.1, is not in the difference.
    assert held["beside the first"]["reward"]["mean"] == pytest.approx(0.05)
    assert held["beside the first"]["reward"]["half_width"] == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-3)
    assert (folder / compare.FIGURE).stat().st_size > 1000
    assert "+0.05 ± 0.025" in capsys.readouterr().out


def test_a_method_added_later_joins_and_other_settings_are_refused(folder: Path) -> None:
    run(folder)
    finished(folder / "clip_b" / "seed-0", "clip_b", 0.3)
    run(folder, methods="observe,clip_b", seeds=1)
    assert list(json.loads((folder / COMPARISON).read_text())["arms"]) == ["observe", "clip_b", "hold"]
    with pytest.raises(ConfigError, match=r"other settings \(steps\)"):
        run(folder, ["steps=4"])


def test_no_method_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="names no method"):
        run(folder, methods=" , ")


def test_interval_is_student_s() -> None:
    values = [1.0, 2.0, 4.0]
    assert interval(values)["half_width"] == pytest.approx(4.30265 * statistics.stdev(values) / 3**0.5, rel=1e-4)
    assert interval([1.0])["half_width"] is None


def test_rounding_is_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores that are equal but for the order of a sum, and differences that cancel out: 0, not 5.55e-17."""
    assert interval([0.1, 0.2, 0.1 + 0.2 - 0.6])["mean"] == 0
    for seed, (plain, held) in enumerate([(0.3, 0.1 + 0.2), (0.8, 0.8 - 1e-16)]):
        finished(tmp_path / "observe" / f"seed-{seed}", "observe", plain)
        finished(tmp_path / "hold" / f"seed-{seed}", "hold", held)
    run(tmp_path, seeds=2)
    record = json.loads((tmp_path / COMPARISON).read_text())
    assert record["arms"]["hold"]["beside the first"]["reward"]["each"] == [0, 0]
    assert "e-17" not in capsys.readouterr().out


def test_shares_of_problems_are_named_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(tmp_path / "observe" / "seed-0", "observe", 0.5)
    summary = json.loads((path := tmp_path / "observe" / "seed-0" / "summary.json").read_text())
    summary["eval"]["end"] |= {"always": 0.2, "sometimes": 0.5, "never": 0.3}
    path.write_text(json.dumps(summary))
    run(tmp_path, methods="observe", seeds=1)
    out = capsys.readouterr().out
    assert all(words in out for words in TRIES.values())


def test_a_mean_run_keeps_what_every_seed_logged(folder: Path) -> None:
    runs = [Run.load(folder / "observe" / f"seed-{seed}") for seed in range(3)]
    steps, values = mean_run(runs).column("reward")
    assert steps == [1, 2, 3]
    assert values == pytest.approx([0.5] * 3)


@pytest.mark.parametrize(
    ("text", "name", "settings"),
    [
        ("hold", "hold", ("method=hold",)),
        ("hold target=0.2", "hold target=0.2", ("method=hold", "method.target=0.2")),
        ("low: hold target=0.1", "low", ("method=hold", "method.target=0.1")),
    ],
)
def test_arms(text: str, name: str, settings: tuple[str, ...]) -> None:
    assert Arm.parse(text) == Arm(name, settings)


@pytest.mark.parametrize("text", ["", "target=0.2", "hold 0.2", "../up: hold", "a/b: hold", ".: hold"])
def test_arms_that_name_no_method_or_no_folder(text: str) -> None:
    with pytest.raises(ConfigError, match="method"):
        Arm.parse(text)


def test_what_is_compared_cannot_be_a_shared_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="differ from run to run"):
        run(tmp_path, ["method=hold"])
    with pytest.raises(ConfigError, match="two methods are called 'hold'"):
        cases(tmp_path, [Arm.parse("hold"), Arm.parse("hold")], [0])
    with pytest.raises(ConfigError, match="unknown method"):
        run(tmp_path, methods="observe,hodl")


def test_a_damaged_record_is_named(folder: Path) -> None:
    (folder / COMPARISON).write_text("{")
    with pytest.raises(ConfigError, match=r"comparison\.json is damaged"):
        collect(folder, [])
