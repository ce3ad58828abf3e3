"""How long pages are waited for, and when they are ready."""

from __future__ import annotations

from typing import Any

PATIENCE = 180_000
"""For how long anything is waited for [ms]: what takes a second alone may take a minute on a machine that is busy elsewhere."""


def ready(page: Any) -> None:
    """Once the page has built itself."""
    page.wait_for_selector("html[data-ready=true]", state="attached")
