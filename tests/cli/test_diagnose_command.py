"""`entrostat diagnose` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.test_main import call


def log(path: Path, count: int = 60, **columns: object) -> Path:
    rows = []
    for i in range(count):
        row = {
            "step": i + 1,
            "entropy": 0.4 + 0.01 * ((7 * i) % 5),
            "reward": 0.3 + 0.005 * i,
            "grad_norm": 0.2 + 0.01 * (i % 3),
        }
        rows.append(row | {key: value(i) if callable(value) else value for key, value in columns.items()})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    well = log(tmp_path / "well.jsonl")
    dead = log(tmp_path / "dead.jsonl", reward=lambda i: 0.3 * (i < 20), grad_norm=lambda i: 0.2 * (i < 20))
    stuck = log(tmp_path / "stuck.jsonl", frac_reward_zero_std=0.95, reward=0.01)
    assert call("diagnose", str(well)) == 0
    assert "nothing found" in capsys.readouterr().out
    assert call("diagnose", str(dead)) == 1
    printed = capsys.readouterr().out
    assert (
        "E302 dead run (severe, confidence 95%, steps 21 to 60)" in printed
        and "What to do" in printed
        and "█" in printed
    )
    assert call("diagnose", str(stuck)) == 0 and call("diagnose", str(stuck), "--strict") == 1
    capsys.readouterr()
    assert call("diagnose", str(tmp_path / "wel.jsonl"), str(dead)) == 2
    out, err = capsys.readouterr()
    assert "did you mean 'well.jsonl'" in err and "E302" in out  # one bad path does not hide the others


def test_the_summary_counts_in_words_and_says_where_the_trainer_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "metrics.jsonl"
    one.write_text('{"step": 3, "token_entropy": 0.4}\n')
    assert call("diagnose", str(one)) == 0
    out = capsys.readouterr().out
    assert f"metrics.jsonl [{tmp_path.name}]" in out  # the file's name is every run's
    assert "trainer unknown: 1 row, step 3;" in out


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (1, "too little to judge. The log has 1 row. Rows needed: 6 for E301 no signal, E303 length collapse, "),
        (
            20,
            "nothing found. The log has 20 rows. Rows needed: 29 for E103 entropy rising while the reward falls; "
            "30 for E104 entropy exhausted, E401 batch too small for its curve; 40 for E105 entropy swings.",
        ),
        (40, "nothing found\n"),
    ],
)
def test_a_short_log_is_not_said_to_be_well(
    rows: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = log(tmp_path / "short.jsonl", rows)
    assert call("diagnose", str(path)) == 0
    assert f"  {said}" in capsys.readouterr().out
    assert call("diagnose", str(path), "--json") == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert ("E105" in run["too_few_rows_for"]) == (rows < 40) and ("E301" in run["too_few_rows_for"]) == (rows < 6)


def test_json_holds_what_the_text_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log(tmp_path / "a.jsonl", frac_reward_zero_std=0.95, reward=0.01)
    assert call("diagnose", str(path), "--json") == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert run["columns"]["entropy"] == {"key": "entropy", "unit": "nats per token", "kind": "exact"}
    assert run["findings"][0]["code"] == "E301" and run["rows"] == 60 and run["steps"] == [1, 60]


def test_a_named_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log(tmp_path / "a.jsonl", mine=lambda i: 2.0 + 0.01 * (i % 3))
    assert call("diagnose", str(path), "--column", "entropy=mine", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["columns"]["entropy"]["key"] == "mine"
    assert call("diagnose", str(path), "--column", "entropy=min") == 2
    assert "near it are 'mine'" in capsys.readouterr().err
    assert call("diagnose", str(path), "--column", "mine") == 2
    assert call("diagnose", str(path), "--column", "spirit=mine") == 2


def test_hostile_text_is_shown_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;owned\x07[bold]x[/bold]\u202e\u200bentropy"
    path = log(tmp_path / "[red]a\x1b[2J.jsonl", count=20, **{evil: 0.5})
    path.write_text(path.read_text() + '{"step": "\x1b[2J", "entropy": "[link=x]"}\n' + "\x1b[31mnoise\n")
    assert call("diagnose", str(path), "--column", f"entropy={evil}") == 0
    out, err = capsys.readouterr()
    assert not set("\x1b\x07\u202e\u200b") & set(out + err)
    assert "[bold]x[/bold]" in out and "[red]a" in out
