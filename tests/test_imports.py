"""Imports point one way (the contracts are in pyproject.toml), and the test of it fails where one runs backwards."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
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


def test_imports_point_one_way() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


ONE_WAY, NO_HOST, NO_TORCH = "Imports point one way", "know no host", "do not import torch"
# What is added to a file, the import that it is, and the contract that it breaks.
BACKWARD = [
    ("tasks/base.py", "import entrostat.models", "tasks.base -> entrostat.models", None),  # one level: allowed
    ("types/totals.py", "import entrostat.stats", "types.totals -> entrostat.stats", ONE_WAY),
    ("stats/online.py", "from entrostat.methods import flow", "stats.online -> entrostat.methods.flow", ONE_WAY),
    (
        "control/pi.py",
        "def f():\n    from entrostat.methods import base",
        "control.pi -> entrostat.methods.base",
        ONE_WAY,
    ),
    ("methods/base.py", "from entrostat.core import control", "methods.base -> entrostat.core.control", ONE_WAY),
    ("attribution/account.py", "import entrostat.tasks.base", "attribution.account -> entrostat.tasks.base", ONE_WAY),
    ("tasks/base.py", "import entrostat.report.figure", "tasks.base -> entrostat.report.figure", ONE_WAY),
    ("core/control.py", "import entrostat.hosts.trl", "core.control -> entrostat.hosts.trl", ONE_WAY),
    ("lab/plant.py", "import entrostat.run.config", "lab.plant -> entrostat.run.config", ONE_WAY),
    ("run/record.py", "import entrostat.cli.main", "run.record -> entrostat.cli.main", ONE_WAY),
    ("stats/logits.py", "import transformers", "stats.logits -> transformers", NO_HOST),
    ("methods/flow.py", "def f():\n    import trl", "methods.flow -> trl", NO_HOST),
    ("attribution/account.py", "from ray import get", "attribution.account -> ray", NO_HOST),
    ("report/figure.py", "import torch", "report.figure -> torch", NO_TORCH),
    ("run/record.py", "import torch", "run.record -> torch", NO_TORCH),  # which reports read
]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of each contract over a copy of the package with all those lines."""
    copy = tmp_path_factory.mktemp("spoilt")
    shutil.copytree(PACKAGE, copy / "src" / "entrostat", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for file, line, *_ in BACKWARD:
        with (copy / "src" / "entrostat" / file).open("a") as spoilt:
            spoilt.write(f"\n{line}\n")
    result = lint(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    _, told = result.stdout.split("\nBroken contracts\n")
    parts = re.split(r"\n(\S.*)\n-+\n", told)  # a title and its underline, then what is broken
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize(("file", "line", "arrow", "contract"), BACKWARD)
def test_a_backward_import_is_found(
    broken: dict[str, str], file: str, line: str, arrow: str, contract: str | None
) -> None:
    found = [
        name for name, told in broken.items() if re.search(rf"^[- ] +entrostat\.{re.escape(arrow)} \(", told, re.M)
    ]
    if contract is None:
        importer, imported = (part.removeprefix("entrostat.").partition(".")[0] for part in arrow.split(" -> "))
        told = broken["Imports point one way"]
        assert f"entrostat.{importer} is not allowed to import entrostat.{imported}" not in told
    else:
        assert any(contract in name for name in found), broken


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


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """What a script imports from the package: (module, name)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "entrostat":
            yield from ((str(node.module), alias.name) for alias in node.names)


def test_scripts_beside_the_package_import_what_there_is() -> None:
    """Benchmarks run for hours and seldom: a name that has moved must not wait until then."""
    missing = []
    for path in sorted(each for folder in ("benchmarks", "docs", "examples") for each in (ROOT / folder).rglob("*.py")):
        for module, name in imported(path):
            try:
                found = hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}")
            except ModuleNotFoundError as error:
                found = not (error.name or "").startswith("entrostat")  # verl is in an environment of its own
            if not found:
                missing.append(f"{path.relative_to(ROOT)}: {module}.{name}")
    assert not missing
