"""The figures of a response and of a stability map: PNGs with what they are given; drawing them needs no torch."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest

from entrostat.control.response import response
from entrostat.errors import SaveError
from entrostat.report.response import response_figure
from entrostat.report.stability import stability_figure

MEASURED = [0.2 + 0.06 * math.exp(-t / 10) for t in range(80)]


def test_a_response_with_and_without_rewards(tmp_path: Path) -> None:
    shapes = []
    for name, reward in (("a", []), ("b", [0.01 * t for t in range(80)])):
        path = response_figure(
            tmp_path / f"{name}.png",
            MEASURED,
            [0.2] * 80,
            [m - 0.2 for m in MEASURED],
            numbers=response(MEASURED, 0.2),
            limits=(-2, 0.05),
            events={40: "learning rate x 2"},
            reward=reward,
        )
        shapes.append(matplotlib.image.imread(path).shape)
    assert shapes[0][0] < shapes[1][0]


def test_a_loop_without_target(tmp_path: Path) -> None:
    path = response_figure(tmp_path / "a.png", MEASURED, [], [0.0] * 80, limits=(-math.inf, math.inf))
    assert matplotlib.image.imread(path).std() > 0


def test_a_map_with_unstable_parts_and_one_with_nothing_else(tmp_path: Path) -> None:
    gains = [0.1 * (i + 1) for i in range(12)]
    taus = [[10.0 / x if y < x else math.nan for x in gains] for y in gains]
    found = stability_figure(tmp_path / "a.png", gains, gains, taus, {"limit": gains}, {"chosen": (0.5, 0.3)})
    assert matplotlib.image.imread(found).std() > 0
    nothing = [[math.nan] * 12] * 12
    assert stability_figure(tmp_path / "b.png", gains, gains, nothing, {}, {}).exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="nowhere"):
        response_figure(tmp_path / "nowhere" / "a.png", MEASURED, [], [0.0] * 80)


def test_no_torch() -> None:
    modules = "entrostat.report.response, entrostat.report.stability, entrostat.logs.read"
    script = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
