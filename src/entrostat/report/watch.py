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

from entrostat.diagnosis import Finding, diagnose
from entrostat.errors import EntrostatError
from entrostat.logs import Run, read
from entrostat.report.thinning import extremes
from entrostat.report.visible import one_line

Stamp = tuple[tuple[str, int, int], ...]
_STYLES = {"severe": "bold red", "warning": "yellow", "remark": "cyan"}
_SHOWN = 6


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
        parts += [headline(run), Text.from_ansi(plot(run, min(width, 110), min(room, 18))), *told(findings)]
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


def plot(run: Run, width: int, height: int) -> str:
    """Entropy (points) and target (line) over steps, in characters."""
    import plotext

    figure = plotext
    figure.clear_figure()
    figure.plot_size(width, height)
    figure.theme("clear")
    x, y = extremes(run.steps, run["entropy"], 2 * width)
    if not len(x):
        return "no entropy yet\n"
    figure.plot(x.tolist(), y.tolist(), marker="braille", color="blue", label="entropy")
    at, target = extremes(run.steps, run["target"], 2 * width)
    if len(at):
        figure.plot(at.tolist(), target.tolist(), marker="braille", color="orange", label="target")
    figure.xlabel("optimizer step")
    return str(figure.build())


def told(findings: list[Finding]) -> list[Text]:
    """Findings, two lines each; how many more there are."""
    if not findings:
        return [Text("nothing found", style="green")]
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
