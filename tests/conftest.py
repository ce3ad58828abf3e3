"""Where ENTROSTAT_TEST_DEVICE names a device, or there is a GPU, what the tests of these folders make is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from device import DEVICE, OnDevice

FOLDERS = {"stats", "methods", "core", "attribution"}


@pytest.fixture(autouse=DEVICE != "cpu", scope="module")
def on_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """For a whole file, so that its fixtures are on the device too."""
    with ExitStack() as stack:
        if request.path.parent.name in FOLDERS:
            if DEVICE == "elsewhere":
                from elsewhere import Makes

                stack.enter_context(Makes())
            stack.enter_context(OnDevice())
        yield
