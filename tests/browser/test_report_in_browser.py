"""The report as a person meets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser.behavior import BEHAVIOR, dark_mode_follows_the_system_and_the_button
from browser.pages import ready
from report.report_case import write_run

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
Open = Callable[..., Any]


@pytest.mark.parametrize("what", BEHAVIOR, ids=lambda what: what.__name__)
def test_what_any_page_does(open_page: Open, report: str, what: Callable[[Any], None]) -> None:
    what(open_page(report))


def test_the_verdict_comes_first_and_leads_to_its_steps(open_page: Open, tmp_path: Path) -> None:
    import json

    from entrostat.report.content import content_of
    from entrostat.report.page import write_report

    run = write_run(tmp_path / "run", steps=80)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows[20:]:
        row |= {"reward": 0.0, "grad_norm": 0.0}  # a dead run
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = content_of([run])
    assert content["runs"][0]["findings"]
    page = open_page(write_report(content, tmp_path / "page.html")[0].as_uri())
    sections = page.locator("main > section").evaluate_all("list => list.map(each => each.id)")
    assert sections.index("verdict") < sections.index("charts")
    first = page.locator(".finding").first
    assert content["runs"][0]["findings"][0]["title"] in first.inner_text()
    first.locator("button").click()
    expect(page.locator("#chart-entropy button", has_text="Reset zoom")).to_be_visible()


def test_dragging_zooms_all_charts_over_steps(open_page: Open, report: str) -> None:
    page = open_page(report)
    plot = page.locator("#chart-entropy svg.plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 100, steps=4)
    page.mouse.up()
    expect(page.locator("#chart-reward button", has_text="Reset zoom")).to_be_visible()
    page.locator("#chart-entropy button", has_text="Reset zoom").click()
    expect(page.locator("#chart-reward button", has_text="Reset zoom")).to_be_hidden()


def test_a_legend_hides_and_shows_a_line(open_page: Open, report: str) -> None:
    page = open_page(report)
    paths = page.locator("#chart-entropy svg.plot g path")
    before = paths.count()
    button = page.locator("#chart-entropy .legend button", has_text="target")
    button.click()
    expect(paths).to_have_count(before - 1)
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    expect(paths).to_have_count(before)


def test_a_table_stands_behind_every_chart(open_page: Open, report: str) -> None:
    page = open_page(report)
    for i in range(page.locator("figure").count()):
        figure = page.locator("figure").nth(i)
        figure.locator("summary").click()
        figure.locator("table.data tbody tr").first.wait_for()
        assert figure.locator("table.data tbody tr").count() >= 2


def test_every_coloring_colors(open_page: Open, report: str) -> None:
    page = open_page(report)
    seen = set()
    for name in ("flow", "entropy", "advantage", "weight", "surprisal"):
        page.locator("#by-coloring").select_option(name)
        colors = page.locator(".tok").evaluate_all("list => list.map(each => getComputedStyle(each).backgroundColor)")
        assert any(color not in ("transparent", "rgba(0, 0, 0, 0)") for color in colors)
        seen.add(tuple(colors))
    assert len(seen) == 5


def test_dark_mode_follows_the_system_and_the_button(open_page: Open, report: str) -> None:
    dark_mode_follows_the_system_and_the_button(open_page(report, color_scheme="dark"))
    assert open_page(report, color_scheme="light").evaluate("document.documentElement.dataset.theme") == "light"


CONTRAST = """([selector]) => {
  const parse = color => color.match(/[\\d.]+/g).map(Number);
  const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const ground = node => {
    const layers = [];
    for (; node; node = node.parentElement) layers.unshift(parse(getComputedStyle(node).backgroundColor));
    return layers.reduce((below, [r, g, b, a = 1]) => [r, g, b].map((v, i) => v * a + below[i] * (1 - a)), [255, 255, 255]);
  };
  return [...document.querySelectorAll(selector)].filter(e => e.offsetParent && e.textContent.trim()).map(e => {
    const [high, low] = [light(ground(e)), light(parse(getComputedStyle(e).color))].sort((x, y) => y - x);
    return [e.textContent.slice(0, 40), (high + .05) / (low + .05)];
  });
}"""
SEEN = (
    "h1, h2, h3, p, a, .note, .unit, button, label, td, th, summary, .badge, .tok:not(.dim), .clip, .row, .scale span"
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_that_of_wcag_aa(open_page: Open, report: str, scheme: str) -> None:
    page = open_page(report, color_scheme=scheme)
    for coloring in ("flow", "surprisal"):
        page.locator("#by-coloring").select_option(coloring)
        low = [(text, ratio) for text, ratio in page.evaluate(CONTRAST, [SEEN]) if ratio < 4.5]
        assert not low


def test_a_narrow_screen_has_no_sideways_scroll(open_page: Open, report: str) -> None:
    page = open_page(report, viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.parametrize("share", [0.2, 0.5, 0.55, 0.8])
def test_the_values_under_the_pointer_cover_no_axis(open_page: Open, report: str, share: float) -> None:
    """In every chart over steps, and within the window: beside the pointer, out of the card where that needs it."""
    page = open_page(report)
    plots = page.locator("figure:has(.cursor) svg.plot")
    assert plots.count() >= 5
    for i in range(plots.count()):
        plot = plots.nth(i)
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        numbers = plot.locator("text").evaluate_all(
            "list => list.filter(each => each.getAttribute('text-anchor') === 'end' && !/step/.test(each.textContent))"
            ".map(each => each.getBoundingClientRect().right)"
        )
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        tip = page.locator("figure .tip:visible").bounding_box()
        assert tip["x"] > min(numbers) and tip["x"] >= 0 and tip["x"] + tip["width"] <= 1240
        line = plot.locator(".cursor").evaluate(
            "each => each.getBoundingClientRect().left"
        )  # at the step that is nearest
        assert not tip["x"] < line < tip["x"] + tip["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 1240


def test_a_large_report_is_small_and_quick(new_page: Callable[..., Any], tmp_path: Path) -> None:
    """5,000 steps and 200 completions of 500 tokens. Its own thread's CPU time, so that other work does not count."""
    from entrostat.report.content import content_of
    from entrostat.report.page import write_report

    run = write_run(tmp_path / "run", steps=5000, records=25, completions=8, length=500)
    content = content_of([run])
    assert sum(sum(record["lengths"]) for record in content["tokens"]) == 100_000
    path, _ = write_report(content, tmp_path / "page.html")
    assert path.stat().st_size < 8e6
    page = new_page(viewport={"width": 1240, "height": 900})
    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri())
    ready(page)
    assert page.locator("figure svg.plot path").count() > 20 and page.locator(".tok").count() == 500
    spent = {each["name"]: each["value"] for each in tools.send("Performance.getMetrics")["metrics"]}
    print(f"opens in {spent['TaskDuration']:.2f} s of CPU, {path.stat().st_size / 1e6:.1f} MB")
    assert 0 < spent["TaskDuration"] < 2
