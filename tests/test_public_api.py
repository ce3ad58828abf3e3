"""The public names: they resolve, they explain themselves, and importing the package costs next to nothing."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

import entrostat as es
from entrostat import methods

PARTS = ("stats", "attribution", "lab", "control", "methods", "logs", "diagnosis", "tasks", "models")


def test_a_function_is_not_lost_to_a_module_of_its_name() -> None:
    """Python binds a module in its package when it is first imported, over a function of that name."""
    for path in Path(str(methods.__file__)).parent.glob("*.py"):
        if (name := path.stem) in methods.__all__:
            importlib.import_module(f"entrostat.methods.{name}")
            assert not isinstance(getattr(methods, name), ModuleType), name
    importlib.import_module("entrostat.methods.cards")
    assert callable(importlib.import_module("entrostat.core.state_file").describe)


@pytest.mark.parametrize("name", es.__all__)
def test_every_public_name_resolves(name: str) -> None:
    if name == "trl":
        pytest.importorskip("trl")
    value = getattr(es, name)
    assert value is not None
    assert name in dir(es)


def test_the_type_checker_reads_every_public_name() -> None:
    text = (Path(__file__).parent / "public_types.py").read_text()
    assert set(re.findall(r"refuse\(es\.(\w+)\)", text)) == set(es.__all__) - {*PARTS, "trl"}


def test_every_method_is_public() -> None:
    assert set(methods.names()) <= set(es.__all__)


def test_names_are_unique_and_unknown_ones_refused() -> None:
    assert len(es.__all__) == len(set(es.__all__))
    with pytest.raises(AttributeError, match="attribute thermostat"):
        _ = es.thermostat


@pytest.mark.parametrize("part", PARTS)
def test_every_part_exports_what_it_says(part: str) -> None:
    module = getattr(es, part)
    assert isinstance(module, ModuleType)
    for name in module.__all__:
        assert hasattr(module, name), f"{part}.{name}"


def public() -> list[object]:
    """Every function and class that a user can reach by a public name."""
    found: dict[str, object] = {}
    for holder in (es, *(getattr(es, part) for part in PARTS)):
        for name in holder.__all__:
            if holder is es and name == "trl":
                continue
            value = getattr(holder, name)
            if inspect.isfunction(value) or inspect.isclass(value):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return [pytest.param(value, id=name) for name, value in sorted(found.items())]


@pytest.mark.parametrize("value", public())
def test_everything_public_has_a_docstring(value: object) -> None:
    text = inspect.getdoc(value)
    assert text and len(text) > 15
    # A dataclass without one gets its signature for a docstring.
    assert not (dataclasses.is_dataclass(value) and text.startswith(f"{value.__name__}(")), value  # type: ignore[union-attr]


def test_every_module_has_a_docstring() -> None:
    for path in Path(es.__file__).parent.glob("**/*.py"):
        if text := path.read_text():
            assert ast.get_docstring(ast.parse(text)), path


def test_importing_is_quick_and_loads_no_torch() -> None:
    """Under half a second; the best of several tries, since the machine may be busy."""
    code = "import sys, time; t = time.perf_counter(); import entrostat; print(time.perf_counter() - t, 'torch' in sys.modules)"
    best = float("inf")
    for _ in range(8):
        seconds, torch_loaded = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        ).stdout.split()
        assert torch_loaded == "False"
        best = min(best, float(seconds))
        if best < 0.5:
            break
        time.sleep(1)
    assert best < 0.5


def test_the_version_is_the_package_s() -> None:
    from importlib import metadata

    assert es.__version__ == metadata.version("entrostat")


def test_errors_are_also_the_errors_they_replace() -> None:
    for kind, stdlib in (
        (es.ConfigError, ValueError),
        (es.DataError, ValueError),
        (es.MissingStatistic, LookupError),
        (es.StateError, RuntimeError),
        (es.HostError, RuntimeError),
        (es.NotInstalled, ImportError),
    ):
        assert issubclass(kind, stdlib) and issubclass(kind, es.EntrostatError)


def test_trl_is_imported_by_the_name_that_it_has() -> None:
    pytest.importorskip("trl")
    assert importlib.import_module("entrostat.trl").controlled is es.trl.controlled
