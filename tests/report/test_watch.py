"""`entrostat watch` in the terminal: numbers, a plot, findings; and nothing that a log says is obeyed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from report.report_case import write_run
from rich.console import Console

from entrostat.diagnosis import diagnose
from entrostat.errors import ConfigError, DataError
from entrostat.logs import read
from entrostat.report.watch import changes, frame, watch


def shown(path: Path, width: int = 100) -> str:
    out = io.StringIO()
    watch(path, 1.0, once=True, console=Console(file=out, width=width, height=40))
    return out.getvalue()


def test_a_run_as_it_is_now(tmp_path: Path) -> None:
    text = shown(write_run(tmp_path / "run"))
    assert "step 60" in text and "target 0.3" in text and "reward" in text
    assert sum("⠀" < character <= "⣿" for character in text) > 40  # the plot, in braille
    assert max(map(len, text.splitlines())) <= 100


def test_findings_are_told_with_what_to_do(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=80)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows[20:]:
        row |= {"reward": 0.0, "grad_norm": 0.0}
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "E302 dead run" in shown(run)


def test_names_are_text(tmp_path: Path) -> None:
    text = shown(write_run(tmp_path / "[red]x\x1b[31m"))
    assert "[red]x⟨ESC⟩[31m" in text and "\x1b" not in text


def test_a_narrow_and_low_terminal(tmp_path: Path) -> None:
    run = read(write_run(tmp_path / "run"))[0]
    out = io.StringIO()
    Console(file=out, width=40, height=12).print(frame([(run, diagnose(run))], 40, 12))
    assert "entropy" in out.getvalue()


def test_a_log_is_looked_at_again_when_it_has_changed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", steps=10, records=0)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            with (run / "metrics.jsonl").open("a") as file:
                file.write('{"step": 11, "reward": 0.5}\n')

    seen = changes(run, 0.5, wait)
    assert next(seen) != next(seen) and waits == [0.5] * 3


def test_a_path_without_a_log(tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError)):
        shown(tmp_path / "nowhere")
