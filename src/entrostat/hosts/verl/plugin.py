"""What verl loads in every process that imports it (entry point group `verl.plugins`).

It must cost nothing there, so it only waits: when verl's trainers are imported, which happens in the driver, ours are
registered beside them. A failure then is an error of that import, and not a line in a debug log.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

TRAINERS = "verl.trainer.ppo.v1"
OURS = "entrostat.hosts.verl.trainer"


class _ThenOurs(Loader):
    """Loads a module as its own loader does, then imports ours."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        importlib.import_module(OURS)


class _Wait(MetaPathFinder):
    """Steps in once, for the module that is waited for."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != TRAINERS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenOurs(spec.loader)
        return spec


def register() -> None:
    """Register our trainers as soon as verl's are there; calling it again changes nothing."""
    if TRAINERS in sys.modules:
        importlib.import_module(OURS)
    elif not any(isinstance(finder, _Wait) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Wait())


register()
