"""The help of every command: examples that work, kinds of values by one word, no line over 80 columns."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from cli.test_main import call

from entrostat.cli._help import EXAMPLES
from entrostat.cli.main import app

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_and_plain_kinds(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(name, "--help") == 0
    shown = capsys.readouterr().out
    assert not re.search(r"<(int|str|float|list|path|Path)\b", shown), shown
    assert "]]..." not in shown and "}..." not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert all(f"\n    {line}\n" in f"{shown}\n" for line in EXAMPLES[name])


@pytest.mark.parametrize("line", [line for name in COMMANDS for line in EXAMPLES[name]])
def test_an_example_is_a_command_that_is_taken(line: str) -> None:
    name, *words = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, words)


@pytest.mark.parametrize("command", ["demo", "compare"])
def test_a_missing_package_is_said_before_a_folder_is_made(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "trl" else found(name, *a))
    assert call(command, "--out", str(tmp_path / "out")) == 1
    assert "this needs trl, which is not installed: pip install 'entrostat[train]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_probe_prints_json_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("--prompts", "4", "--completions", "4", "--methods", "observe")
    assert call("probe", *small, "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["methods"]) == ["observe"]
    assert call("probe", *small, "--json", "numbers.json") == 2
    assert "--json: prints, and takes no file" in capsys.readouterr().err


def test_probe_suggests_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("probe", "--methods", "hold,entropik") == 2
    assert "unknown method 'entropik' (did you mean 'entropic'?)" in capsys.readouterr().err
