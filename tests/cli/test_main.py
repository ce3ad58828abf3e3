"""The command line as a whole: fast help, lists, exit codes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

import entrostat
from entrostat.cli.main import main
from entrostat.methods import names


def call(*words: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def test_help_is_fast_and_imports_no_framework() -> None:
    heavy = ("torch", "transformers", "trl", "pydantic", "omegaconf", "matplotlib")
    script = (
        "import sys\nfrom entrostat.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"sys.exit(','.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )
    seconds = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time, which other work on the machine does not stretch; on an idle one it is the time that passes.
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, f"--help imported {done.stderr}"
    for command in ("train", "demo", "methods", "env"):
        assert f"\n  {command} " in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]  # each command's line is whole
    assert min(seconds) < 0.5


def test_methods_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("methods") == 0
    listed = capsys.readouterr().out
    assert all(f"\n{name}" in f"\n{listed}" for name in names())
    rows = {line.partition(" ")[0]: " ".join(line.split()) for line in listed.splitlines()}
    assert rows["clip_b"] == "clip_b raises loss loop trl verl 2602.03392"
    assert rows["scope"] == "scope holds reward, sampling loop trl 2510.08141"
    assert call("methods", "entropic") == 0
    shown = capsys.readouterr().out
    for part in ("2511.15248", "threshold = 0.95", "how ours differs", "kp 1, ki 0.01", "works in:  loop, trl, verl"):
        assert part in shown


def test_an_unknown_method_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("methods", "entropik") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: unknown method 'entropik' (did you mean 'entropic'?)")
    assert "Traceback" not in captured.err and captured.out == ""


def test_debug_shows_where_an_error_comes_from() -> None:
    with pytest.raises(ValueError, match="entropik"):
        main(["methods", "entropik", "--debug"])


def test_env_is_json_without_paths(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("env") == 0
    text = capsys.readouterr().out
    assert set(json.loads(text)) == {"python", "packages", "machine", "git"}
    assert sys.prefix not in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out.strip() == entrostat.__version__
