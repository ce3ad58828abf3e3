"""Imports point one way (the contracts are in pyproject.toml), and the test of it fails where one runs backwards."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "entrostat"


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the package that lies in `root`."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "COLUMNS": "300"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package and its contracts, to be spoilt."""
    shutil.copytree(PACKAGE, tmp_path / "src" / "entrostat", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_point_one_way() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("tasks/base.py", "import entrostat.models", None),  # one level: allowed
        ("types.py", "import entrostat.stats", "Imports point one way"),
        ("stats/online.py", "from entrostat.methods import flow", "Imports point one way"),
        ("control/pi.py", "def f():\n    from entrostat.methods import base", "Imports point one way"),
        ("methods/base.py", "from entrostat.core import control", "Imports point one way"),
        ("attribution/account.py", "import entrostat.tasks.base", "Imports point one way"),
        ("tasks/base.py", "import entrostat.report.figure", "Imports point one way"),
        ("core/control.py", "import entrostat.hosts.trl", "Imports point one way"),
        ("lab/plant.py", "import entrostat.run.config", "Imports point one way"),
        ("run/record.py", "import entrostat.cli.main", "Imports point one way"),
        ("stats/logits.py", "import transformers", "know no host"),
        ("methods/flow.py", "def f():\n    import trl", "know no host"),
        ("attribution/account.py", "from ray import get", "know no host"),
        ("report/figure.py", "import torch", "do not import torch"),
        ("run/record.py", "import torch", "do not import torch"),  # which reports read
    ],
)
def test_a_backward_import_is_found(copy: Path, file: str, line: str, broken: str | None) -> None:
    path = copy / "src" / "entrostat" / file
    path.write_text(path.read_text() + f"\n{line}\n")
    result = lint(copy)
    if broken is None:
        assert result.returncode == 0, result.stdout
    else:
        assert result.returncode == 1, result.stdout + result.stderr
        assert any(broken in row and "BROKEN" in row for row in result.stdout.splitlines()), result.stdout


def test_every_part_has_its_level() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    levels = " ".join(contracts[0]["layers"])
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    missing = parts - {"__init__"} - {name.strip("()") for name in levels.split()}
    assert not missing, f"add {missing} to the layers in pyproject.toml"
    assert {"entrostat.logs", "entrostat.diagnosis", "entrostat.report"} <= set(contracts[2]["source_modules"])


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "entrostat")


def foreign(path: Path) -> set[str]:
    """What a file of `control` imports beyond the standard library, its neighbors and the errors."""
    return {
        name
        for name in imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names
        and not name.startswith(("entrostat.control", "entrostat.errors"))
    }


def test_control_is_standard_library_only(tmp_path: Path) -> None:
    files = sorted((PACKAGE / "control").glob("**/*.py"))
    assert len(files) >= 6
    for path in [*files, PACKAGE / "errors.py"]:
        assert not foreign(path), path
    for line in ("import torch", "from numpy import array", "from entrostat.types import Summary", "import entrostat"):
        spoilt = tmp_path / "spoilt.py"
        spoilt.write_text(f"def f():\n    {line}\n")
        assert foreign(spoilt)


def test_only_the_commands_import_the_package_itself() -> None:
    """`import entrostat as es` inside would reach any part by its lazy names, unseen by the contracts."""
    for path in PACKAGE.glob("**/*.py"):
        if "cli" not in path.relative_to(PACKAGE).parts:
            assert "entrostat" not in set(imports(path)), path


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        # Of one process: what none of them may load, none has loaded when all are there.
        ("entrostat entrostat.control entrostat.types", "torch numpy transformers trl"),
        ("entrostat.methods entrostat.lab entrostat.core.control", "transformers trl accelerate datasets"),
        ("entrostat.cli.diagnose", "torch transformers trl pandas numpy"),
        ("entrostat.logs entrostat.diagnosis", "torch transformers trl pandas"),
    ],
)
def test_what_an_import_loads(modules: str, absent: str) -> None:
    code = f"import sys, {', '.join(modules.split())}; print([m for m in {absent.split()!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_no_public_function_hides_behind_a_module_of_its_name() -> None:
    """`from package.other import x` in a package that has an x.py lasts until somebody imports x.py."""
    for package in PACKAGE.rglob("__init__.py"):
        modules = {path.stem for path in package.parent.glob("*.py")} | {
            path.name for path in package.parent.iterdir() if path.is_dir()
        }
        for node in ast.walk(ast.parse(package.read_text())):
            if isinstance(node, ast.ImportFrom):
                own = (node.module or "").rpartition(".")[2]
                for name in node.names:
                    bound = name.asname or name.name
                    assert bound not in modules or own == bound, f"{package}: {bound} of {node.module} hides {bound}.py"
