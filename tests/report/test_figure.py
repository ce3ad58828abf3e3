"""The figure is a PNG with a panel for each thing that was logged; drawing it needs no torch."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from entrostat.errors import SaveError
from entrostat.report.figure import HELD_COLOR, PLAIN_COLOR, drawn, entropy_figure, smoothed
from entrostat.run.record import Run


def made_up(name: str, controlled: bool, path: Path) -> Run:
    rows = []
    for step in range(1, 40):
        row = {"step": step, "entropy_control/measured": 0.3 * math.exp(-step / 30), "reward": 0.01 * step}
        if controlled:
            row |= {"entropy_control/target": 0.3, "entropy_control/output": math.sin(step)}
        rows.append(row)
    return Run(path / name, rows, {"method": {"name": name}}, {}, {})


def test_one_run_and_several(tmp_path: Path) -> None:
    plain, held = made_up("observe", False, tmp_path), made_up("flow", True, tmp_path)
    shapes = []
    for index, runs in enumerate(([plain], [held], [plain, held])):
        path = entropy_figure(runs, tmp_path / f"{index}.png")
        image = matplotlib.image.imread(path)  # decodes the whole file
        assert image.std() > 0
        shapes.append(image.shape)
    assert shapes[0][0] < shapes[1][0] == shapes[2][0]  # no panel for an output that there is not


@pytest.mark.parametrize("steps", [1, 3, 40, 3000])
@pytest.mark.parametrize("target", [0.05, 0.3, 5.0])
def test_target_and_measurements_are_in_sight_at_whole_steps(tmp_path: Path, steps: int, target: float) -> None:
    rows = [
        {"step": step, "entropy_control/measured": 0.2 + 0.01 * math.sin(step), "entropy_control/target": target}
        for step in range(1, steps + 1)
    ]
    figure = drawn([Run(tmp_path, rows, {"method": {"name": "hold"}}, {}, {})])
    figure.canvas.draw()
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    assert low == 0 and high > max(target, 0.21)
    first, last = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if first <= tick <= last]
    assert ticks and all(tick == round(tick) for tick in ticks)


def test_what_is_solved_has_panels_of_its_own(tmp_path: Path) -> None:
    run = made_up("observe", False, tmp_path)
    bare = matplotlib.image.imread(entropy_figure([run], tmp_path / "bare.png"))
    judged = [{"step": 0, "eval/greedy": 0.3, "eval/pass@1": 0.2, "eval/pass@8": 0.5}, *run.metrics]
    judged[-1] |= {"eval/greedy": 0.4, "eval/pass@1": 0.4, "eval/pass@8": 0.6}
    path = entropy_figure([Run(tmp_path, judged, {"method": {"name": "observe"}}, {}, {})], tmp_path / "judged.png")
    assert matplotlib.image.imread(path).shape[0] > bare.shape[0]


def test_a_run_without_steps_still_draws(tmp_path: Path) -> None:
    assert entropy_figure([Run(tmp_path, [], {}, {}, {})], tmp_path / "empty.png").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match=r"nowhere"):
        entropy_figure([made_up("flow", True, tmp_path)], tmp_path / "nowhere" / "a.png")


def test_smoothing_starts_at_the_first_value_and_keeps_a_constant() -> None:
    assert smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert smoothed([1.0, 0.0])[0] == 1.0


def test_no_torch() -> None:
    script = "import sys, entrostat.report.figure; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_plain_grpo_and_hold_have_their_colors_in_the_demonstration_and_the_study(tmp_path: Path) -> None:
    runs = [made_up("observe", False, tmp_path), made_up("hold", True, tmp_path)]
    assert [line.get_color() for line in drawn(runs).axes[0].lines[:2]] == [PLAIN_COLOR, HELD_COLOR]
    lengths = {
        name: [_width(name, color) for color in (PLAIN_COLOR, HELD_COLOR)] for name in ("entropy.png", "long.png")
    }
    for name, (plain, held) in lengths.items():
        assert plain > held > 0, name  # the plain one's line is whole, the other's dashed


def _width(name: str, color: str) -> int:
    """Pixels in a row, at most, of a color in a picture of the pages."""
    image = matplotlib.image.imread(Path(__file__).parents[2] / "docs" / "images" / name)[..., :3]
    own = np.abs(image - np.array(matplotlib.colors.to_rgb(color))).max(-1) < 0.01
    longest = run = np.zeros(len(own), int)
    for column in own.T:
        run = (run + 1) * column
        longest = np.maximum(longest, run)
    return int(longest.max())
