"""Where ENTROSTAT_TEST_DEVICE names a device, or there is a GPU, what the tests of these folders make is there."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest
from device import DEVICE, placed

FOLDERS = {"stats", "methods", "core", "attribution"}

gc.disable()  # while the test files import torch, transformers and TRL: a million objects, none of them garbage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that fork come first, side by side: one process serves them all, and none of their long tests starts last."""
    forking = {item.path for item in items if "ranks" in {getattr(each, "__module__", "") for each in _names(item)}}
    items.sort(key=lambda item: item.path not in forking)


def _names(item: pytest.Item) -> Iterable[object]:
    return vars(getattr(item, "module", None) or object).values()


def pytest_collection_finish() -> None:
    """What is imported stays: a collection that walks it takes a quarter of a second, and every trainer of TRL asks for one."""
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # Triton's bindings count what is left at the end


def _placed(path: Path) -> AbstractContextManager[None]:
    return placed() if path.parent.name in FOLDERS else nullcontext()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """What a file makes while it is imported is on the device too: its constants, and the arguments of its tests."""
    with _placed(collector.path) if isinstance(collector, pytest.Module) else nullcontext():
        return (yield)


@pytest.fixture(autouse=DEVICE != "cpu", scope="module")
def on_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """For a whole file, so that its fixtures are on the device too."""
    with _placed(request.path):
        yield
