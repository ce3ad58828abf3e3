"""`entrostat watch --web`: the same page, kept up to date by a server that tells nobody else anything."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser.behavior import BEHAVIOR, dark_mode_follows_the_system_and_the_button
from browser.pages import ready
from report.report_case import write_run

from entrostat.report.serve import Server

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    run = write_run(tmp_path / "run")
    with Server(run) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server, run
        server.shutdown()


def test_the_page_follows_the_log_and_keeps_what_was_chosen(
    open_page: Callable[..., Any], served: tuple[Server, Path]
) -> None:
    server, run = served
    page = open_page(server.url)
    assert page.locator(".fact b").first.inner_text() == "60"
    page.locator("#by-coloring").select_option("entropy")
    page.locator("#chart-entropy .legend button", has_text="target").click()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    more = [json.dumps(json.loads(lines[-1]) | {"step": step}) for step in range(61, 101)]
    with (run / "metrics.jsonl").open("a") as file:
        file.write("".join(line + "\n" for line in more))
    expect(page.locator(".fact b").first).to_have_text("100")
    expect(page.locator("#by-coloring")).to_have_value("entropy")
    hidden = page.locator("#chart-entropy .legend button", has_text="target")
    expect(hidden).to_have_attribute("aria-pressed", "false")
    assert "Live" in page.locator("footer").inner_text()


def test_it_does_what_the_file_does(open_page: Callable[..., Any], served: tuple[Server, Path]) -> None:
    page = open_page(served[0].url, color_scheme="dark")
    for what in (*BEHAVIOR, dark_mode_follows_the_system_and_the_button):
        page.reload()
        ready(page)
        what(page)


def test_a_stopped_server_is_said(tmp_path: Path, new_page: Callable[..., Any]) -> None:
    run = write_run(tmp_path / "other")
    server = Server(run)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = new_page()
    page.goto(server.url)
    ready(page)
    server.shutdown()
    server.server_close()
    expect(page.locator("footer")).to_contain_text("stopped")
