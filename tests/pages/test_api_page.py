"""The API page names everything public, and nothing that does not exist."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

from pages.blocks import ROOT

import entrostat as es
from entrostat import errors
from entrostat.methods import names

SHOWN = re.findall(r"^::: ([\w.]+)", (ROOT / "docs" / "api.md").read_text(), re.M)


def test_every_public_name_is_there() -> None:
    whole = {name for name in vars(errors) if not name.startswith("_")}  # of errors the module is shown
    told = {path.rsplit(".", 1)[-1] for path in SHOWN} | set(names()) | whole
    assert {name for name in es.__all__ if name not in told and not isinstance(getattr(es, name), ModuleType)} == set()


def test_what_is_shown_exists() -> None:
    for path in SHOWN:
        module, _, name = path.rpartition(".")
        assert path == "entrostat.errors" or hasattr(importlib.import_module(module), name), path
