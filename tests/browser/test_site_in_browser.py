"""The docs' site, opened from a folder: its pages and its search work without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser.pages import ready

ROOT = Path(__file__).parents[2]
expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    return folder


def test_search_finds_pages_and_nothing_is_fetched(new_page: Callable[..., Any], site: Path) -> None:
    page, fetched = new_page(), []
    page.on("request", lambda request: fetched.append(request.url))
    page.goto((site / "index.html").as_uri())
    page.locator("input.md-search__input").click()
    page.keyboard.type("perplexity", delay=20)  # the search listens to keys
    result = page.locator(".md-search-result__link").first
    expect(result).to_be_visible(timeout=30_000)
    result.click()
    expect(page).to_have_url(re.compile("theory|report"))
    page.goto((site / "examples" / "tiny.html").as_uri())
    ready(page)
    assert [url for url in fetched if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_are_there_and_have_the_page_s_colors(new_page: Callable[..., Any], site: Path, scheme: str) -> None:
    page = new_page(color_scheme=scheme)
    page.goto((site / "report.html").as_uri())
    seen = page.evaluate("() => [...document.images].filter(each => each.checkVisibility()).map(each => each.src)")
    names = {Path(each.split("#")[0]).stem for each in seen}
    assert ("report-dark" in names) == (scheme == "dark") and ("report" in names) == (scheme == "light")
    for name in ("report", "self_tuning_measured", "study"):
        page.goto((site / f"{name}.html").as_uri())
        widths = page.evaluate("() => [...document.querySelectorAll('.md-content img')].map(each => each.naturalWidth)")
        assert widths and all(widths), name
        assert "!" not in [text[:1] for text in page.locator(".md-content p").all_inner_texts()]
