"""What every page of ours does for a person, whether it is a file or is served: each takes an open page of `write_run`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from report.report_case import HOSTILE

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect


def charts_are_drawn(page: Any) -> None:
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


def hover_shows_the_values_of_a_step_in_every_chart(page: Any) -> None:
    plot = page.locator("#chart-entropy svg.plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = page.locator("#chart-entropy .tip")
    expect(tip).to_be_visible()
    assert re.match(r"step \d+", tip.inner_text()) and "target" in tip.inner_text()
    expect(page.locator("#chart-reward svg.plot .cursor")).to_have_attribute("visibility", "visible")
    page.mouse.move(2, 2)
    expect(tip).to_be_hidden()


def filters_sort_and_search(page: Any) -> None:
    items = page.locator(".list li")
    expect(items).to_have_count(12)
    page.locator("#by-least").fill("1")
    expect(items).to_have_count(6)
    assert all("reward 1" in text for text in items.all_inner_texts())
    page.locator("#by-least").fill("")
    page.locator("#by-text").fill("question 3")
    expect(items).to_have_count(3)
    page.locator("#by-text").fill("nothing has this")
    expect(items).to_have_count(0)
    expect(page.locator("[aria-label='The chosen completion']")).to_contain_text("No completion")
    page.locator("#by-text").fill("")
    page.locator("#by-quadrant").select_option("positive_likely")
    expect(items).to_have_count(6)
    assert page.locator(".tok.dim").count() > 0
    page.locator("#by-quadrant").select_option("")
    page.locator("#by-sort").select_option("lowers most")
    effects = [float(text.split()[-1].replace("−", "-")) for text in page.locator(".list .row").all_inner_texts()]
    assert effects == sorted(effects)


def a_token_tells_everything_about_itself(page: Any) -> None:
    token = page.locator(".tok").nth(len(HOSTILE) + 3)
    token.scroll_into_view_if_needed()
    token.hover()
    tip = page.locator("#token-tip")
    text = tip.inner_text()
    for word in (
        "probability p",
        "entropy H",
        "discriminator S",
        "centered D",
        "advantage A",
        "ratio r",
        "weight",
        "flow F",
    ):
        assert word in text
    assert "nsr" in text and "entropy_bonus" in text and "+ a term" in text
    expect(page.locator("#vocabulary tbody tr")).to_have_count(10)


def the_keyboard_reaches_everything(page: Any) -> None:
    chosen = page.locator(".list li[aria-selected=true]")
    page.keyboard.press("j")
    expect(chosen).to_have_attribute("id", "completion-1")
    page.keyboard.press("k")
    expect(chosen).to_have_attribute("id", "completion-0")
    page.locator(".list").focus()
    page.keyboard.press("End")
    expect(chosen).to_have_attribute("id", "completion-11")
    page.keyboard.press("3")
    expect(page.locator("#by-coloring")).to_have_value("advantage")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "by-text"
    page.keyboard.type("j3")
    expect(page.locator("#by-text")).to_have_value("j3")  # in a field, keys are text
    expect(page.locator(".list li")).to_have_count(0)
    page.keyboard.press("Escape")  # empties the field and leaves it
    expect(page.locator(".list li")).to_have_count(12)
    page.locator(".text").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".tok.at")).to_have_attribute("data-i", "1")
    expect(page.locator("#token-tip")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#token-tip")).to_be_hidden()
    page.locator("#chart-entropy svg.plot").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#chart-entropy .tip")).to_be_visible()


def hostile_text_is_text(page: Any) -> None:
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


def dark_mode_follows_the_system_and_the_button(page: Any) -> None:
    """Of a page opened on a dark system."""
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light" and page.evaluate(ground) != dark


BEHAVIOR: tuple[Callable[[Any], None], ...] = (
    charts_are_drawn,
    hover_shows_the_values_of_a_step_in_every_chart,
    filters_sort_and_search,
    a_token_tells_everything_about_itself,
    the_keyboard_reaches_everything,
    hostile_text_is_text,
)
