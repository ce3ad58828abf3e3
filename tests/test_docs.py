"""The pages: links lead somewhere, snippets are Python, commands exist, numbers are those of the results."""

from __future__ import annotations

import ast
import json
import re
import runpy
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("README.md")])


def test_there_are_pages() -> None:
    assert len(PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://", "#")):
            continue
        assert (page.parent / link.split("#")[0]).exists(), link


def snippets(page: Path) -> list[str]:
    """The Python of a page, without the indentation of a tab or list that it stands in."""
    found = re.findall(r"^( *)```python\n(.*?)^\1```", page.read_text(), flags=re.S | re.M)
    return [textwrap.dedent(code) for _, code in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_snippets_are_python(page: Path) -> None:
    for snippet in snippets(page):
        ast.parse(snippet)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_public_names_in_snippets_exist(page: Path) -> None:
    import entrostat as es

    for snippet in snippets(page):
        for name in re.findall(r"\bes\.(\w+)", snippet):
            assert name in es.__all__, name


PACKAGE = ROOT / "src" / "entrostat"
ROOMS = [path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"]


@pytest.mark.parametrize("page", sorted(PACKAGE.rglob("*.py")), ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_that_are_named_exist(page: Path) -> None:
    """`room.module` in a docstring or a comment, also of rooms that there once were."""
    for room, name in re.findall(rf"`({'|'.join([*ROOMS, 'theory', 'adapters'])})\.([a-z_]+)", page.read_text()):
        if name in ("md", "py", "json"):
            continue
        places = [
            PACKAGE / room / f"{name}.py",
            PACKAGE / room / name,
            PACKAGE / room / "__init__.py",
            PACKAGE / f"{room}.py",
        ]
        texts = [place for place in places if place.exists()]
        named = any(place.stem == name or re.search(rf"\b{name}\b", place.read_text()) for place in texts)
        assert named, f"{room}.{name}"


REPORTS = sorted(
    path.parent for path in (ROOT / "benchmarks").glob("*/*/report.py") if (path.parent / "README.md").exists()
)


@pytest.mark.parametrize("folder", REPORTS, ids=lambda folder: folder.name)
def test_pages_show_what_was_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study's `README.md` is what `report.py` makes of `results.json`."""
    monkeypatch.syspath_prepend(folder)
    report = runpy.run_path(str(folder / "report.py"))
    record = json.loads((folder / "results.json").read_text())
    assert (folder / "README.md").read_text() == report["page"](record)


def test_a_controller_that_is_told_the_plant_holds_it_nearer() -> None:
    told = runpy.run_path(str(ROOT / "benchmarks" / "quality" / "told.py"))
    for plant in told["PLANTS"].values():
        found = told["compared"](plant, 30.0, 2)
        assert found["told"]["level"] < found["self-tuned"]["level"] < 0.7
        assert 1 < found["told"]["smoothed"] < found["self-tuned"]["smoothed"] < 2


@pytest.mark.parametrize(("name", "of"), [("plants", "cases"), ("told", "rows")])
def test_the_page_shows_what_was_measured_on_plants(name: str, of: str) -> None:
    folder = ROOT / "benchmarks" / "quality"
    shown = runpy.run_path(str(folder / f"{name}.py"))["as_table"]
    measured = json.loads((folder / f"{name}.json").read_text())[of]
    assert shown(measured) in (ROOT / "docs" / "self_tuning_measured.md").read_text(), (
        f"python benchmarks/quality/{name}.py --table"
    )
