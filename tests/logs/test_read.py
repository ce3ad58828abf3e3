"""Logs of every kind, read into one stretch without gaps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrostat.errors import ConfigError, DataError
from entrostat.logs.stretch import read_log


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(count: int, first: int = 1) -> list[dict]:
    return [
        {"step": s, "entropy_control/measured": 0.3 - 0.01 * s, "entropy_control/output": 0.1 * s}
        for s in range(first, first + count)
    ]


def test_a_run_folder_and_when_its_outputs_acted(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("method: {name: entropic, target: 0.2}\n")
    lines(tmp_path / "metrics.jsonl", [{"step": 0, "eval/avg@8": 0.1}, *rows(5)])
    log = read_log(tmp_path)
    assert log.measured == pytest.approx([0.29, 0.28, 0.27, 0.26, 0.25])
    assert log.acting[1:] == log.output[:-1]  # on the update of the row after
    assert log.config["method"]["name"] == "entropic" and log.skipped == 0 and log.target == []
    assert read_log(tmp_path, delay=0).acting == log.output


def test_a_schedule_s_knob_is_logged_as_it_acted(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"entropy_control/measured": 0.3, "entropy_control/u": u} for u in (0, 1, 2)])
    assert read_log(path).acting == [0, 1, 2]


def test_verl_s_lines_and_named_columns(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", [{"step": s, "data": {"actor/entropy": 0.3, "mine": s}} for s in range(4)])
    log = read_log(path, output="mine")
    assert log.columns == ("actor/entropy", "mine") and log.output == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="no column 'min' for the output; near it are 'mine'"):
        read_log(path, output="min")
    with pytest.raises(ConfigError, match="no column for the output.*--probe"):  # noqa: RUF043
        read_log(path)


def test_csv_with_empty_cells_keeps_the_longest_stretch(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("step,entropy,output,name\n1,0.3,0.1,x\n2,,0.2,x\n3,0.3,0.3,x\n4,0.31,0.4,x\n5,0.32,0.5,x\n")
    log = read_log(path)
    assert (log.measured, log.output, log.skipped) == ([0.3, 0.31, 0.32], [0.3, 0.4, 0.5], 1)


def test_a_jump_of_the_steps_parts_the_log(tmp_path: Path) -> None:
    log = read_log(lines(tmp_path / "a.jsonl", [*rows(3), *rows(6, first=10)]))
    assert len(log.measured) == 6 and log.skipped == 3


def test_an_entropy_that_no_controller_can_hold_is_refused_with_the_reason(tmp_path: Path) -> None:
    sums = [{"step": s, "entropy": 150.0, "output": 0.1} for s in range(5)]
    with pytest.raises(ConfigError, match="'entropy' is a sum over the tokens"):
        read_log(lines(tmp_path / "a.jsonl", sums))
    zeros = [{"step": s, "actor/entropy": 0.0, "reward": 0.1, "output": 0.1} for s in range(5)]
    with pytest.raises(ConfigError, match="'actor/entropy' was not computed: it is 0 in every row"):
        read_log(lines(tmp_path / "a.jsonl", zeros))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "a.jsonl"
    with pytest.raises(ConfigError, match="no such file"):
        read_log(tmp_path / "none.jsonl")
    broken.write_text('{"entropy": 1, "output": 0}\n{"entropy": 1, "ou\n')
    assert any("cut" in note for note in read_log(broken).notes)
    broken.write_text(json.dumps({"entropy": 0.1, "output": 1}) + '\n{"entropy": 0.')  # as a crash leaves it
    assert read_log(broken).measured == [0.1]
    apart = lines(tmp_path / "b.jsonl", [{"step": 1, "entropy": 0.1}, {"step": 2, "output": 1.0}])
    with pytest.raises(DataError, match="no row holds both"):
        read_log(apart)
