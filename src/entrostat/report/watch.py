"""A run in the terminal while it is written: the entropy against its target as a plot, and findings as they arise."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from entrostat.diagnosis import Finding, diagnose, nothing_found
from entrostat.errors import EntrostatError
from entrostat.logs import Run, read
from entrostat.report.visible import one_line

Stamp = tuple[tuple[str, int, int], ...]
_STYLES = {"severe": "bold red", "warning": "yellow", "remark": "cyan"}
_LINE, _DOTTED = "bold blue", "dark_orange"  # the entropy, its target
_SHOWN = 6
_MARGIN = 10
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a braille cell, by column and row


def changes(path: Path, every: float, sleep: Callable[[float], None] = time.sleep) -> Iterator[Stamp]:
    """A stamp of the log's files now, and again whenever they have changed; looks every so many seconds, for ever."""
    last: Stamp | None = None
    while True:
        now = stamp(path)
        if now != last:
            last = now
            yield now
        sleep(every)


def stamp(path: Path) -> Stamp:
    """Names, sizes and times of a log's files: of a folder its own files, and those of its token records."""
    found = []
    for each in [path, *_inside(path)]:
        try:
            status = os.stat(each)
        except OSError:
            continue
        found.append((str(each), status.st_size, status.st_mtime_ns))
    return tuple(found)


def _inside(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted([*path.glob("*"), *path.glob("*/*.jsonl"), *path.glob("tokens/*")])


def watch(path: Path, every: float, once: bool = False, console: Console | None = None) -> None:
    """Redraw whenever the log has changed, until Ctrl-C; without a terminal, or with `once`, print it a single time.

    Raises:
        ConfigError, DataError: with `once`, what is wrong with the log; otherwise that is shown, and waited for to change.
    """
    console = console or Console()
    if once or not console.is_terminal:
        console.print(frame([(run, diagnose(run)) for run in read(path)], console.width, console.height))
        return
    with Live(console=console, auto_refresh=False, screen=False) as live:
        try:
            for _ in changes(path, every):
                try:
                    shown: Any = frame([(run, diagnose(run)) for run in read(path)], console.width, console.height)
                except EntrostatError as error:
                    shown = Text(f"waiting: {one_line(str(error), 400)}")
                live.update(shown, refresh=True)
        except KeyboardInterrupt:
            return


def frame(runs: list[tuple[Run, list[Finding]]], width: int, height: int) -> Group:
    """What a look at the log shows: of each run a line of numbers, a plot and its findings."""
    parts: list[Any] = []
    room = max(height // max(len(runs), 1) - 8, 8)
    for run, findings in runs[-3:]:
        parts += [headline(run), plot(run, min(width, 110), min(room, 16)), *told(findings, len(run))]
    return Group(*parts)


def headline(run: Run) -> Text:
    """The latest numbers of a run in one line."""
    line = Text(one_line(run.name, 60), style="bold")
    if len(run):
        line.append(f"  step {run.steps[-1]:g}", style="not bold")
    words = {
        "entropy": "entropy {:.4g} nats",
        "target": "target {:.4g}",
        "output": "output {:+.3g}",
        "reward": "reward {:.3g}",
    }
    for name, form in words.items():
        values = run[name]
        values = values[np.isfinite(values)]
        if len(values):
            line.append("  " + form.format(values[-1]), style="not bold")
    return line


def plot(run: Run, width: int, height: int) -> Text:
    """Entropy over its target, which is dotted and of another color, in braille dots; the axis starts at 0 nats."""
    curves = [(run["target"], _DOTTED), (run["entropy"], _LINE)]  # where they meet, the entropy's color is seen
    curves = [(values, style) for values, style in curves if np.isfinite(values).any()]
    if not curves:
        return Text("no entropy yet", style="dim")
    columns, rows = max(width - _MARGIN, 10), height
    highest = max(float(np.nanmax(values[np.isfinite(values)])) for values, _ in curves) * 1.05 or 1.0
    first, last = float(run.steps[0]), float(run.steps[-1])
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for values, style in curves:
        here = np.isfinite(values)
        at = np.linspace(first, last, 2 * columns)
        shown = np.interp(at, run.steps[here], values[here])
        heights = np.clip(np.round((1 - shown / highest) * (4 * rows - 1)), 0, 4 * rows - 1).astype(int).tolist()
        for x, (before, y) in enumerate(zip([heights[0], *heights], heights, strict=False)):
            # A line: the dots from the last height to this one; of the target every other dot.
            line = range(min(before + (y > before), y), max(before - (y < before), y) + 1)
            for dot in line if style == _LINE else [y] * (x % 2):
                place = dot // 4, x // 2
                dots, _ = cells.get(place, (0, ""))
                cells[place] = dots | _DOTS[x % 2][dot % 4], style
    text = Text()
    for row in range(rows):
        label = {0: f"{highest:.3g}", rows // 2: f"{highest / 2:.3g}", rows - 1: "0"}.get(row, "")
        text.append(f"{label:>{_MARGIN - 3}} │ ", style="dim")
        for column in range(columns):
            dots, style = cells.get((row, column), (0, ""))
            text.append(chr(0x2800 + dots) if dots else " ", style=style)
        text.append("\n")
    ends = f"step {first:g}", f"{last:g}"
    text.append(" " * _MARGIN + ends[0] + f"{ends[1]:>{max(columns - len(ends[0]), 1)}}", style="dim")
    return text


def told(findings: list[Finding], rows: int) -> list[Text]:
    """Findings of so many rows, two lines each; how many more there are."""
    if not findings:
        return [Text(nothing_found(rows), style="dim")]
    lines = []
    for finding in findings[:_SHOWN]:
        line = Text(f"{finding.code} {finding.title}: ", style=_STYLES.get(finding.severity, ""))
        lines += [
            line.append(one_line(finding.text, 300), style="not bold default"),
            Text(f"     {one_line(finding.advice, 300)}"),
        ]
    if len(findings) > _SHOWN:
        lines.append(Text(f"and {len(findings) - _SHOWN} more: entrostat diagnose"))
    return lines
