"""The page of each method says what its code and its `Source` say."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from methods.cases import CASES, data

import entrostat as es
from entrostat.core.control import EntropyControl
from entrostat.methods import factory, names, source
from entrostat.methods.cards import described
from entrostat.methods.page import MARK, default_cell, table
from entrostat.methods.page import page as generated

DOCS = Path(__file__).parent.parent.parent / "docs"
SHARED = (DOCS / "methods" / "README.md").read_text()
HEADINGS = ["Formula", "Knobs", "Metrics", "Deviations", "When not to use it"]


def page(name: str) -> str:
    return (DOCS / "methods" / f"{name}.md").read_text()


def words(text: str) -> str:
    return " ".join(text.split())


def test_there_is_a_page_for_each_method_and_no_other() -> None:
    assert {path.stem for path in (DOCS / "methods").glob("*.md")} == {
        *names(),
        "README",
        "all",
        "not_shipped",
        "writing",
    }
    assert (DOCS / "methods" / "all.md").read_text() == table(), "python -m entrostat.methods.page docs/methods"


@pytest.mark.parametrize("name", names())
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert MARK not in page(name) or page(name) == generated(name), "python -m entrostat.methods.page docs/methods"


@pytest.mark.parametrize("name", names())
def test_a_page_is_complete(name: str) -> None:
    text = page(name)
    assert text.startswith(f"# {name}\n\n**Idea.** ")
    assert re.findall(r"^## (.*)$", text, re.M) == HEADINGS
    for option in inspect.signature(factory(name)).parameters:
        assert f"`{option}`" in text.split("## Knobs")[1].split("## Metrics")[0], option
    for deviation in source(name).deviations:
        assert words(deviation) in words(text), f"declared, not on the page: {deviation}"
    if not source(name).deviations:
        assert "None declared" in text
    for paper in re.findall(r"\d{4}\.\d{5}", source(name).paper):
        assert paper in text


@pytest.mark.parametrize("name", names())
def test_defaults_on_the_page_are_those_of_the_code_as_a_configuration_file_has_them(name: str) -> None:
    rows = re.findall(r"^\|([^|]*)\|([^|]*)\|", page(name).split("## Knobs")[1].split("## Metrics")[0], re.M)
    defaults = {setting.name: default_cell(setting) for setting in described(name).settings}
    for keys, cell in rows[2:]:
        options = re.findall(r"`(\w+)`", keys)
        assert cell.strip() == ", ".join(dict.fromkeys(defaults.pop(option) for option in options)), keys
    assert not defaults


def test_a_default_is_what_one_would_write_in_a_configuration_file() -> None:
    shown = {setting.name: setting.default for setting in described("hold").settings}
    assert shown == {
        "target": "0.75 * initial",
        "settling": "not set",
        "kp": "not set",
        "ki": "not set",
        "limits": "[-1, 1]",
        "controller": "not set",
    }
    (target,) = (setting for setting in described("adapo").settings if setting.name == "target")
    assert target.default == "initial"


@pytest.mark.parametrize("name", names())
def test_snippets_run(name: str) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", page(name), re.S)
    made: dict[str, object] = {"es": es}
    exec(snippet, made)
    assert all(value.name == name for key, value in made.items() if key in ("method", "variant", "held", "adaptive"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_metric_is_explained(case: object) -> None:
    control = EntropyControl(case())  # type: ignore[operator]
    batch = data(0).batch()
    control.apply(es.ppo(batch), batch)
    own = [key.removeprefix("entropy_control/") for key in control.step() if key.startswith("entropy_control/")]
    text = SHARED + page(control.method.name)
    for key in own:
        assert f"`{key.split('/')[-1]}`" in text or f"`{key}`" in text, key


def test_links_between_pages_resolve() -> None:
    for path in [*(DOCS / "methods").glob("*.md"), DOCS / "choose.md"]:
        for target in re.findall(r"\]\((?!https:)([^)#]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
