"""One rule for the exit codes of all commands: 2 where what was given is wrong, told in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.test_help import COMMANDS
from cli.test_main import call

from entrostat import errors
from entrostat.cli._children import follow
from entrostat.errors import ConfigError, EntrostatError, RunFailed, exit_code

WRONG = [
    "compare task=nothing --methods observe",
    "compare --methods hodl",
    "compare no-such.yaml",
    "demo --target -1",
    "demo --target 75%",
    "demo no-such.yaml",
    "diagnose missing.jsonl",
    "diagnose empty.jsonl",
    "diagnose garbage.jsonl",
    "env what",
    "methods hodl",
    "models what",
    "probe --task nothing",
    "probe --task {name:",
    "probe --model nothing",
    "probe --batch missing.json",
    "probe --batch garbage.jsonl",
    "probe --methods hodl",
    "report missing.jsonl",
    "report empty.jsonl",
    "report garbage.jsonl",
    "report folder",
    "simulate no-such.yaml",
    "simulate method.target=75%",
    "tasks what",
    "train no-such.yaml",
    "train garbage.jsonl",
    "train --resume folder",
    "train task=missing.jsonl --dry-run",
    "train task=empty.jsonl --dry-run",
    "tune missing.jsonl",
    "tune empty.jsonl",
    "tune garbage.jsonl",
    "watch --once missing.jsonl",
    "watch --once empty.jsonl",
    "watch garbage.jsonl",
    "watch --once folder",
]


def test_every_command_is_here() -> None:
    assert {line.split()[0] for line in WRONG} == set(COMMANDS)


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_exit_code_2_and_a_sentence(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("empty.jsonl").touch()
    Path("garbage.jsonl").write_text("what is this\n\x01\n")
    before = sorted(tmp_path.rglob("*"))
    assert call(*line.split()) == 2
    out, err = capsys.readouterr()
    assert err.strip() and "Traceback" not in err and "this should not happen" not in err
    if err.startswith("error:"):  # typer's own errors come with the usage
        assert err.count("\n") == 1
    assert out == "" and sorted(tmp_path.rglob("*")) == before


def test_every_kind_of_error_has_its_code() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, EntrostatError)]
    assert {each.__name__ for each in kinds if exit_code(each("x")) == 1} == {"NotInstalled", "RunFailed", "SaveError"}


@pytest.mark.parametrize(("code", "kind"), [(2, ConfigError), (1, RunFailed), (-9, RunFailed)])
def test_a_run_in_a_process_of_its_own_passes_its_code_on(code: int, kind: type[Exception], tmp_path: Path) -> None:
    class Ended:
        folder = tmp_path / "run"
        running = False

        class process:
            returncode = code

        def news(self) -> list[dict[str, float]]:
            return []

        def stop(self) -> None: ...

        def last_words(self) -> str:
            return "error: its words"

    with pytest.raises(kind, match="error: its words"):
        list(follow({"one": Ended}, 1))  # type: ignore[dict-item]


def test_probe_takes_a_task_as_train_does(capsys: pytest.CaptureFixture[str]) -> None:
    small = ("--prompts", "4", "--completions", "4", "--methods", "observe", "--json")
    assert call("probe", *small, "--task", "{name: countdown, problems_per_prompt: 2}") == 0
    assert json.loads(capsys.readouterr().out)["completions"] == 16
    assert call("probe", *small, "--task", "{problems_per_promt: 2}") == 2
    assert capsys.readouterr().err.startswith("error: task.problems_per_promt: ")
    assert call("probe", *small, "--task", "{name: countdown, low: 9, high: 3}") == 2
    assert capsys.readouterr().err == "error: task.low: low is 9 and high is 3; choose 1 <= low <= high\n"


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("learning_rate=1e-5", "trainer.learning_rate"),
        ("lr=1e-5", "trainer.learning_rate"),
        ("num_generations=4", "trainer.num_generations"),
        ("trainer.lr=1e-5", "'learning_rate'"),
    ],
)
def test_a_setting_of_the_trainer_is_told_where_it_is_written(
    word: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("train", word, "--dry-run") == 2
    said = capsys.readouterr().err
    assert name in said and said.count("\n") == 1 and len(said) < 120
