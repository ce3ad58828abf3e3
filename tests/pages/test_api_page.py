"""The API page names everything public, and nothing that does not exist."""

from __future__ import annotations

import importlib
import re

from pages.blocks import ROOT

import entrostat as es
from entrostat.methods import names

SHOWN = re.findall(r"^::: ([\w.]+)", (ROOT / "docs" / "api.md").read_text(), re.M)


def test_every_public_name_is_there() -> None:
    missing = set(es._HOMES) - set(names()) - {path.rsplit(".", 1)[-1] for path in SHOWN}
    assert {name for name in missing if es._HOMES[name] != "entrostat.errors"} == set()  # of errors the module is shown


def test_what_is_shown_exists() -> None:
    for path in SHOWN:
        module, _, name = path.rpartition(".")
        assert path == "entrostat.errors" or hasattr(importlib.import_module(module), name), path
