"""The docs' pictures of the report, of its token view and of `watch`, taken in headless Chromium:

    python docs/examples/make.py      # the runs and pages that they show
    python docs/pictures/make.py      # the pictures, beside this file

Chromium comes from the system's packages, Playwright drives it. `watch` in a terminal is drawn from the same run's folder.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme

from entrostat.report.watch import watch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES, RUNS = HERE.parent / "examples", ROOT / "build" / "examples"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-device-scale-factor=1"]
TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: {background}; color: {foreground}; }}
pre {{ margin: 0; padding: 14px 18px; font: 15px/1.2 "DejaVu Sans Mono", monospace; width: max-content; }}
i {{ display: inline-block; width: 9.03px; height: 1.2em; font: 12.3px/18px "DejaVu Sans"; vertical-align: top; }}
i {{ transform: scaleY(1.35); }}
{stylesheet}</style><pre>{code}</pre>"""
# The dots come from a font that is no terminal's: each into a cell of its width, 0.602 of the 15 px.
CELLS = """() => {
  const pre = document.querySelector("pre");
  pre.innerHTML = pre.innerHTML.replace(/[\\u2801-\\u28ff]/g, "<i>$&</i>");
}"""
_ANSI = [
    (24, 30, 39),
    (255, 138, 122),
    (80, 200, 140),
    (241, 205, 123),
    (92, 184, 242),
    (226, 140, 194),
    (110, 205, 215),
]
DARK = TerminalTheme(_ANSI[0], (220, 226, 234), [*_ANSI, (220, 226, 234)])


def report(page: Any) -> None:
    """Verdict, entropy against its target, the controller: the top of the tiny policy's page."""
    page.screenshot(path=_place(page, "report"))


def charts(page: Any) -> None:
    """The cursor in all charts, on a page that has been scrolled to the middle."""
    plot = page.locator("#chart-entropy svg.plot")
    plot.scroll_into_view_if_needed()
    page.locator("#chart-flow-0").scroll_into_view_if_needed()
    box = page.locator("#chart-flow-0 svg.plot").bounding_box()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + box["height"] / 2)
    page.screenshot(path=_place(page, "charts"))


def tokens(page: Any) -> None:
    """One completion, colored by its flow, with the numbers of the token that moved the entropy most."""
    page.locator("#by-sort").select_option("lowers most")
    page.locator("#tokens").evaluate("node => node.scrollIntoView()")
    flows = page.evaluate(
        "() => [...document.querySelectorAll('.tok')].map(each => getComputedStyle(each).backgroundColor)"
    )
    strongest = max(range(len(flows)), key=lambda i: _alpha(flows[i]))
    page.locator(".tok").nth(strongest).hover()
    page.screenshot(path=_place(page, "tokens"))


def _place(page: Any, name: str) -> Path:
    """`NAME.png` of a light page, `NAME-dark.png` of a dark one."""
    dark = page.evaluate("document.documentElement.dataset.theme") == "dark"
    return HERE / (f"{name}-dark.png" if dark else f"{name}.png")


def _alpha(color: str) -> float:
    numbers = color[color.index("(") + 1 : -1].split(",")
    return float(numbers[3]) if len(numbers) == 4 else 1.0


def terminal(page: Any, run: Path) -> None:
    """`entrostat watch` as it stands in a terminal of 100 columns."""
    console = Console(width=100, height=30, record=True, file=io.StringIO(), force_terminal=True)
    watch(run, 2.0, once=True, console=console)
    page.set_content(console.export_html(code_format=TERMINAL, theme=DARK))
    page.evaluate(CELLS)
    page.locator("pre").screenshot(path=HERE / "watch.png")


PICTURES: tuple[tuple[str, Callable[[Any], None]], ...] = (("tiny", report), ("tiny", charts), ("smollm2", tokens))


def main() -> None:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or sys.exit("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for scheme in ("light", "dark"):
            for example, take in PICTURES:
                page = browser.new_page(viewport={"width": 1240, "height": 860}, color_scheme=scheme)
                page.goto((EXAMPLES / f"{example}.html").as_uri())
                page.wait_for_selector("html[data-ready=true]", state="attached")
                take(page)
                page.close()
        if (RUNS / "tiny").is_dir():
            terminal(browser.new_page(), RUNS / "tiny")
        else:
            print("watch.png was left as it is: python docs/examples/make.py tiny makes the run that it shows")
        browser.close()


if __name__ == "__main__":
    main()
