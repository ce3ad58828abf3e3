"""Every code block of the pages runs: Python is executed, commands are given or parsed, YAML becomes a configuration."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.test_main import call
from pages.blocks import ELSEWHERE, ROOT, Block, blocks
from pages.workspace import make_files, names_of
from run.small_run import THIRD_PARTY

import entrostat as es
from entrostat.cli._settings import for_new_run
from entrostat.cli.main import app
from entrostat.core.specification import build_method
from entrostat.core.yaml_file import parse
from entrostat.hosts.verl.settings import read_settings
from entrostat.run.config import RunConfig, check_config

pytestmark = [pytest.mark.filterwarnings(each) for each in THIRD_PARTY]
BLOCKS = [block for block in blocks() if block.reason is None and not block.elsewhere]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
PARSED = ("demo", "compare", "probe", "watch")
"""Commands that train, sample or do not end: their words are parsed, and what is a configuration is resolved."""


def in_language(*languages: str) -> Any:
    chosen = [block for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", chosen, ids=str)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    make_files(folder, lambda *words: call("simulate", *words))
    return folder


@pytest.fixture(autouse=True)
def here(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)


def test_every_block_is_run_by_somebody() -> None:
    known = {"python", "bash", "yaml", ""}
    assert {block.language for block in blocks()} <= known and len(BLOCKS) > 40
    for block in blocks():
        assert block.reason is None or len(block.reason) > 8, f"{block}: say why it is not run"
    for test, mine in ELSEWHERE.items():
        assert (ROOT / test).exists() and any(mine(block) for block in blocks())


# -- Python: the blocks of a page one after the other, as a reader would paste them ---------------------------------------

PYTHON = [block for block in BLOCKS if block.language == "python"]


@pytest.mark.filterwarnings("default")  # TRL's own, and those of what it imports
@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON}))
def test_python(page: str, workspace: Path, one_rank: None) -> None:
    dots, names = names_of(page, workspace)
    for block in PYTHON:
        if block.page == page:
            code = block.code
            for old, new in dots.items():
                code = code.replace(old, new)
            assert not re.search(r"[=(]\.\.\.", code), f"{block}: say in workspace.py what stands for the dots"
            exec(compile(code, str(block), "exec"), names)
    if page.endswith("writing.md"):
        _is_the_shipped(names["EntropyAdvantage"])


def _is_the_shipped(written: Any) -> None:
    """The method that the page writes out does what ours of that name does."""
    from methods.cases import data

    batch = data(0).batch()
    of = [es.EntropyControl(method).apply(es.ppo(batch), batch) for method in (written(), es.entropy_advantage())]
    torch.testing.assert_close(of[0].advantages_BT, of[1].advantages_BT)


@pytest.fixture
def one_rank(workspace: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """A process group of one, for the page whose code speaks of ranks."""
    if "statistics" not in request.node.name:
        yield
        return
    torch.distributed.init_process_group("gloo", init_method=f"file://{workspace}/rank", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


# -- commands ---------------------------------------------------------------------------------------------------------------


@in_language("bash")
def test_commands(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    for words in block.lines:
        kind = next((kind for kind in COMMANDS if " ".join(words).startswith(kind)), None)
        assert kind is not None, f"{block}: nothing here knows how to check {words[0]!r}"
        COMMANDS[kind](words)


def _entrostat(words: list[str]) -> None:
    _, name, *options = words
    if name in PARSED or "--probe" in options:
        _parsed(name, options)
    else:
        assert call(name, *_short(name, options)) == 0, words


def _short(name: str, options: list[str]) -> list[str]:
    """The same words so that they take no time: a training run is resolved only, a policy of bandits takes ten steps.

    Its folder is then its own: what other blocks read of that name is a whole run.
    """
    if name == "train" and "--dry-run" not in options:
        return [*options, "--dry-run"]
    if "plant=tabular" not in options:
        return options
    if "--out" in options:
        place = options.index("--out")
        options = options[:place] + options[place + 2 :]
    return [*options, "steps=10"]


def _parsed(name: str, words: list[str]) -> None:
    from typer.main import get_command

    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    values = command.make_context(name, list(words)).params
    settings = values.get("settings") or values.get("words") or []
    for_new_run(settings)
    for method in (values.get("methods") or "").split(","):
        assert method in ("", *es.methods.names())


def _make(words: list[str]) -> None:
    assert all(word in TARGETS for word in words[1:]), words


def _pip(words: list[str]) -> None:
    name, _, extra = words[2].partition("[")
    assert name == "entrostat" and (not extra or extra.removesuffix("]") in EXTRAS), words


def _verl(words: list[str]) -> None:
    """The settings that are ours; verl's own are those of its documents."""
    ours = [word.removeprefix("+entrostat.") for word in words if word.startswith("+entrostat.")]
    section: dict[str, Any] = {}
    for path, _, value in (word.partition("=") for word in ours):
        inner = section
        *folders, last = path.split(".")
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = parse(value, path)
    assert read_settings(section).method.links


def _script(words: list[str]) -> None:
    """A script of the repository: it starts, and knows the options."""
    path, *options = [word for word in words if word not in ("python", "python3")]
    path = path if path.endswith(".py") else f"{path}.py"  # which the one without an ending starts
    helped = subprocess.run(
        [sys.executable, path, "--help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    for option in (word for word in options if word.startswith("--")):
        assert option in helped.stdout, f"{path} has no {option}"


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "entrostat ": _entrostat,
    "make ": _make,
    "pip install ": _pip,
    "python -m entrostat.hosts.verl": _verl,
    "python -m verl.": _verl,
    "python": _script,
    "benchmarks/": _script,
}


# -- YAML -------------------------------------------------------------------------------------------------------------------


@in_language("yaml")
def test_yaml(block: Block) -> None:
    lines = block.code.splitlines()
    alternatives = all(line.startswith("target:") for line in lines)  # one a line
    for text in lines if alternatives else re.split(r"^---$", block.code, flags=re.M):
        values = parse(text, str(block))
        _resolved({"method": {"name": "hold"} | values} if "target" in values else values)


def _resolved(values: Any) -> RunConfig:
    config = check_config(values)
    build_method(config.method.name, config.method.options)
    return config


# -- what a terminal shows ---------------------------------------------------------------------------------------------------


@in_language("")
def test_what_a_terminal_shows(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    if block.code.startswith("error:"):
        call("train", "trainer.learning_rte=1e-4", "--dry-run")
        assert block.code.strip() in capsys.readouterr().err
        return
    first, _, shown = block.code.removeprefix("$ ").partition("\n")
    ((_, name, *options),) = Block(block.page, block.line, "bash", first, None).lines
    table, _, pasted = shown.partition("\nmethod:")
    if pasted:
        _resolved(parse(f"method:{pasted}", str(block)))
    if "--probe" in options:
        _parsed(name, options)
        options = ["runs/seed1"]
    capsys.readouterr()
    call(name, *_short(name, options), *(["--out", "picture.png"] if name == "simulate" else []))
    printed = capsys.readouterr().out
    exact = name == "simulate" and "plant=tabular" not in options  # standard library alone: the same numbers everywhere
    for heading, value in _rows(table):
        assert heading in dict(_rows(printed)), heading
        assert not exact or dict(_rows(printed))[heading] == value, heading


def _rows(table: str) -> list[tuple[str, str]]:
    """Heading and value of each row whose first cell is words."""
    return [(m[1], m[2].strip()) for m in re.finditer(r"^ (\w[^\n]*?)(?: {2,}|  )(\S[^\n]*)$", table, re.M)]
