"""The study of benchmarks/quality/equal_entropy drives one knob of each method to one target, by one kind of controller."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from entrostat.control import SelfTuning

STUDY = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "quality" / "equal_entropy" / "driven.py"))


@pytest.mark.parametrize("table", ["DRIVEN", "STALE"])
def test_every_method_has_one_driven_knob(table: str) -> None:
    for name in STUDY[table]:
        method = STUDY["build"](name, stale=table == "STALE")
        (controller,) = [own for link in method.links for own in link.feedback.values()]
        assert method.name == name
        assert isinstance(controller, SelfTuning) and controller.target == STUDY["TARGET"]


def test_what_acts_on_stale_data_alone_is_in_the_table_of_stale_data() -> None:
    stale = {name for name in STUDY["STALE"] if STUDY["build"](name, stale=True).needs_stale_data}
    assert {"clip_higher", "kl_cov"} <= stale
    assert not any(STUDY["build"](name, stale=False).needs_stale_data for name in STUDY["DRIVEN"])
