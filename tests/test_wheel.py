"""What is installed: the library, and no script that only builds something of this repository."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
COMMANDS = {"entrostat/__main__.py", "entrostat/cli/main.py", "entrostat/hosts/verl/__main__.py"}


def test_the_wheel_has_no_build_scripts() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    left_out = {name.removeprefix("src/") for name in wheel["exclude"]}
    files = {str(path.relative_to(SOURCE)): path.read_text() for path in sorted(SOURCE.rglob("*.py"))}
    scripts = {name for name, text in files.items() if '__name__ == "__main__"' in text}
    assert scripts - COMMANDS == left_out
    # Nothing that is installed imports what is not.
    modules = [name.removesuffix(".py").replace("/", ".") for name in left_out]
    wanted = re.compile(
        "|".join(
            rf"{re.escape(m)}\b|from {re.escape(p)} import .*\b{c}\b"
            for m in modules
            for p, _, c in [m.rpartition(".")]
        )
    )
    importers = [
        (name, line) for name, text in files.items() if name not in left_out
        for line in text.splitlines() if re.match(r"\s*(from|import) ", line) and wanted.search(line)
    ]  # fmt: skip
    assert not importers
