"""The report as a person meets it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report.report_case import HOSTILE, write_run

Open = Callable[..., Any]


def test_charts_are_drawn(open_page: Open, report: str) -> None:
    page = open_page(report)
    assert page.locator("h1").inner_text() == "run"
    figures = page.locator("figure")
    assert figures.count() >= 9
    for i in range(figures.count()):
        assert figures.nth(i).locator("svg.plot path").count() >= 1
        assert figures.nth(i).locator("svg.plot text").count() >= 4
        box = figures.nth(i).locator("svg.plot path").first.bounding_box()
        assert box["width"] > 100 or box["height"] > 50
    ticks = page.locator("#chart-entropy svg.plot text").all_text_contents()
    assert "NaN" not in " ".join(ticks)


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
    assert page.locator("#chart-entropy button", has_text="Reset zoom").is_visible()


def test_hover_shows_the_values_of_a_step_in_every_chart(open_page: Open, report: str) -> None:
    page = open_page(report)
    plot = page.locator("#chart-entropy svg.plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = page.locator("#chart-entropy .tip")
    assert tip.is_visible() and re.match(r"step \d+", tip.inner_text()) and "target" in tip.inner_text()
    assert page.locator("#chart-reward svg.plot .cursor").get_attribute("visibility") == "visible"
    page.mouse.move(2, 2)
    assert not tip.is_visible()


def test_dragging_zooms_all_charts_over_steps(open_page: Open, report: str) -> None:
    page = open_page(report)
    plot = page.locator("#chart-entropy svg.plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 100, steps=4)
    page.mouse.up()
    assert page.locator("#chart-reward button", has_text="Reset zoom").is_visible()
    page.locator("#chart-entropy button", has_text="Reset zoom").click()
    assert not page.locator("#chart-reward button", has_text="Reset zoom").is_visible()


def test_a_legend_hides_and_shows_a_line(open_page: Open, report: str) -> None:
    page = open_page(report)
    paths = page.locator("#chart-entropy svg.plot g path")
    before = paths.count()
    button = page.locator("#chart-entropy .legend button", has_text="target")
    button.click()
    assert paths.count() == before - 1 and button.get_attribute("aria-pressed") == "false"
    button.click()
    assert paths.count() == before


def test_a_table_stands_behind_every_chart(open_page: Open, report: str) -> None:
    page = open_page(report)
    for i in range(page.locator("figure").count()):
        figure = page.locator("figure").nth(i)
        figure.locator("summary").click()
        figure.locator("table.data tbody tr").first.wait_for()
        assert figure.locator("table.data tbody tr").count() >= 2


def test_filters_sort_and_search(open_page: Open, report: str) -> None:
    page = open_page(report)
    items = page.locator(".list li")
    assert items.count() == 12
    page.locator("#by-least").fill("1")
    assert items.count() == 6 and all("reward 1" in text for text in items.all_inner_texts())
    page.locator("#by-least").fill("")
    page.locator("#by-text").fill("question 3")
    assert items.count() == 3
    page.locator("#by-text").fill("nothing has this")
    assert items.count() == 0 and "No completion" in page.locator("[aria-label='The chosen completion']").inner_text()
    page.locator("#by-text").fill("")
    page.locator("#by-quadrant").select_option("positive_likely")
    assert items.count() == 6 and page.locator(".tok.dim").count() > 0
    page.locator("#by-quadrant").select_option("")
    page.locator("#by-sort").select_option("lowers most")
    effects = [float(text.split()[-1].replace("−", "-")) for text in page.locator(".list .row").all_inner_texts()]
    assert effects == sorted(effects)


def test_a_token_tells_everything_about_itself(open_page: Open, report: str) -> None:
    page = open_page(report)
    token = page.locator(".tok").nth(len(HOSTILE) + 3)
    token.scroll_into_view_if_needed()
    token.hover()
    tip = page.locator("#token-tip")
    text = tip.inner_text()
    for word in (
        "probability p",
        "entropy H",
        "discriminator S",
        "centred D",
        "advantage A",
        "ratio r",
        "weight",
        "flow F",
    ):
        assert word in text
    assert "nsr" in text and "entropy_bonus" in text and "+ a term" in text
    assert page.locator("#vocabulary tbody tr").count() == 10


def test_every_colouring_colours(open_page: Open, report: str) -> None:
    page = open_page(report)
    seen = set()
    for name in ("flow", "entropy", "advantage", "weight", "surprisal"):
        page.locator("#by-colouring").select_option(name)
        colours = page.locator(".tok").evaluate_all("list => list.map(each => getComputedStyle(each).backgroundColor)")
        assert any(colour not in ("transparent", "rgba(0, 0, 0, 0)") for colour in colours)
        seen.add(tuple(colours))
    assert len(seen) == 5


def test_the_keyboard_reaches_everything(open_page: Open, report: str) -> None:
    page = open_page(report)
    chosen = page.locator(".list li[aria-selected=true]")
    page.keyboard.press("j")
    assert chosen.get_attribute("id") == "completion-1"
    page.keyboard.press("k")
    assert chosen.get_attribute("id") == "completion-0"
    page.locator(".list").focus()
    page.keyboard.press("End")
    assert chosen.get_attribute("id") == "completion-11"
    page.keyboard.press("3")
    assert page.locator("#by-colouring").input_value() == "advantage"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "by-text"
    page.keyboard.type("j3")
    assert page.locator("#by-text").input_value() == "j3"  # in a field, keys are text
    assert page.locator(".list li").count() == 0
    page.keyboard.press("Escape")  # empties the field and leaves it
    assert page.locator(".list li").count() == 12
    page.locator(".text").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".tok.at").get_attribute("data-i") == "1" and page.locator("#token-tip").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#token-tip").is_visible()
    page.locator("#chart-entropy svg.plot").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#chart-entropy .tip").is_visible()


def test_dark_mode_follows_the_system_and_the_button(open_page: Open, report: str) -> None:
    page = open_page(report, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light" and page.evaluate(ground) != dark
    assert open_page(report, color_scheme="light").evaluate("document.documentElement.dataset.theme") == "light"


def test_hostile_text_is_text(open_page: Open, report: str) -> None:
    page = open_page(report)
    page.locator("#by-sort").select_option("latest step")
    shown = page.locator(".text").inner_text()
    for text in (
        "<script>window.pwned=1</script>",
        "<img src=x",
        "⟨ESC⟩[31m",
        "⟨U+202E⟩gnp.exe",
        "⟨U+200B⟩",
        "⟨U+D800⟩",
        "{{DATA}}",
    ):
        assert text in shown
    assert "<b>bold</b> ⟨U+202E⟩" in page.locator(".prompt").inner_text()


CONTRAST = """([selector]) => {
  const parse = colour => colour.match(/[\\d.]+/g).map(Number);
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
    for colouring in ("flow", "surprisal"):
        page.locator("#by-colouring").select_option(colouring)
        low = [(text, ratio) for text, ratio in page.evaluate(CONTRAST, [SEEN]) if ratio < 4.5]
        assert not low


def test_a_narrow_screen_has_no_sideways_scroll(open_page: Open, report: str) -> None:
    page = open_page(report, viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_large_report_is_small_and_quick(browser: Any, tmp_path: Path) -> None:
    """5,000 steps and 200 completions of 500 tokens. Its own thread's CPU time, so that other work does not count."""
    from entrostat.report.content import content_of
    from entrostat.report.page import write_report

    run = write_run(tmp_path / "run", steps=5000, records=25, completions=8, length=500)
    content = content_of([run])
    assert sum(sum(record["lengths"]) for record in content["tokens"]) == 100_000
    path, _ = write_report(content, tmp_path / "page.html")
    assert path.stat().st_size < 8e6
    page = browser.new_page(viewport={"width": 1240, "height": 900})
    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=true]", state="attached")
    assert page.locator("figure svg.plot path").count() > 20 and page.locator(".tok").count() == 500
    spent = {each["name"]: each["value"] for each in tools.send("Performance.getMetrics")["metrics"]}
    page.close()
    print(f"opens in {spent['TaskDuration']:.2f} s of CPU, {path.stat().st_size / 1e6:.1f} MB")
    assert 0 < spent["TaskDuration"] < 2
