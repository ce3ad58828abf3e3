"""Headless Chromium of the system's packages, driven by Playwright; every test here fails on console errors and requests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from browser.pages import PATIENCE, ready
from report.report_case import write_run

CHROMIUM = "chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in Path(str(item.fspath)).parts:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    path = shutil.which(CHROMIUM)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed, and in CI these tests must run")
        pytest.skip("chromium is not installed: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        api.expect.set_options(timeout=PATIENCE)
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Makes pages, each in a context of its own with the options given."""
    contexts: list[Any] = []

    def made(**options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        contexts[-1].set_default_timeout(PATIENCE)
        return contexts[-1].new_page()

    yield made
    for context in contexts:
        context.close()


@dataclass
class Watched:
    """What a page did that it must not do."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(new_page: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Opens an address; at the end nothing may have been fetched from elsewhere, nothing logged, no injected script run."""
    opened: list[tuple[Any, Watched, str]] = []

    def opener(url: str, **options: Any) -> Any:
        page, seen = new_page(**({"viewport": {"width": 1240, "height": 900}} | options)), Watched()
        page.context.grant_permissions([])
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda message: seen.errors.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("dialog", lambda dialog: seen.errors.append(f"dialog: {dialog.message}"))
        page.goto(url)
        ready(page)
        opened.append((page, seen, url))
        return page

    yield opener
    for page, seen, url in opened:
        assert page.evaluate("typeof window.pwned") == "undefined"
        assert page.locator("script").count() == 2 and page.locator("img, iframe, object").count() == 0
        assert not seen.errors
        assert [each for each in seen.requests if not each.startswith((url, "data:"))] == []


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("browser") / "run")


@pytest.fixture(scope="session")
def report(run: Path) -> str:
    from entrostat.report.content import content_of
    from entrostat.report.page import write_report

    return write_report(content_of([run]), run.parent / "report.html")[0].as_uri()
