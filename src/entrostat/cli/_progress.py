"""How a run looks while it goes on: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from entrostat.cli._closing import closing_table
from entrostat.cli._text import console as make_console
from entrostat.cli._text import shown
from entrostat.run.summary import shown_once

if TYPE_CHECKING:
    from entrostat.run.config import RunConfig
    from entrostat.run.train import Outcome

PLAIN_LINES = 20  # in a whole run, where there is no terminal


class View:
    """What the displays have in common: notes, the time left, and the closing words."""

    def __init__(self, console: Console, total: int, label: str = "") -> None:
        self.console, self.total, self.label = console, total, label
        self.started: tuple[int, float] | None = None

    def note(self, text: str) -> None:
        self.console.print(shown(text), highlight=False, markup=False)

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """An optimizer step has been recorded."""

    def left(self, step: int) -> str:
        """Time to the end at the pace of this session."""
        now = time.perf_counter()
        self.started = self.started or (step, now)
        done, seconds = step - self.started[0], now - self.started[1]
        return clock(seconds / done * (self.total - step)) if done else "--:--"

    def close(self, outcome: Outcome) -> None:
        """The last words about a run."""
        if not outcome.finished:
            self.note(f"stopped after step {outcome.step}; go on with: entrostat train --resume {outcome.folder}")
            return
        self.console.print(closing_table({outcome.folder.name: outcome.summary}))
        self.note(f"run folder: {outcome.folder}")
        place = shlex.quote(str(outcome.folder))
        self.note(f"next: entrostat diagnose {place}; entrostat report {place}")


class Silent(View):
    """Only an unfinished end is worth a word."""

    def note(self, text: str) -> None:
        pass

    def close(self, outcome: Outcome) -> None:
        if not outcome.finished:
            super().note(f"stopped after step {outcome.step}; go on with: entrostat train --resume {outcome.folder}")


class Plain(View):
    """One line every few steps."""

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        left = self.left(step)
        if step % max(1, self.total // PLAIN_LINES) == 0 or step in (1, self.total):
            cells = "  ".join(f"{name} {value}" for name, value in facts(metrics).items())
            self.note(f"{self.label}  step {step}/{self.total}  {cells}  left {left}".strip())


class Panelled(View):
    """A panel with the latest values, drawn by whoever holds it in a `rich.live.Live`."""

    def __init__(self, console: Console, total: int, label: str = "") -> None:
        super().__init__(console, total, label)
        self.at, self.remaining = 0, "--:--"
        self.seen: dict[str, str] = {}

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.at, self.remaining = step, self.left(step)
        self.seen |= facts(metrics)

    def __rich__(self) -> Panel:
        grid = Table.grid(padding=(0, 2))
        grid.add_row("step", f"{self.at}/{self.total}  left {self.remaining}")
        grid.add_row("", ProgressBar(total=self.total, completed=self.at, width=30))
        for name, value in self.seen.items():
            grid.add_row(Text(shown(name)), Text(shown(value)))
        return Panel(grid, title=Text(shown(self.label)), title_align="left", expand=False)


def views_for(console: Console, total: int, labels: list[str]) -> list[View]:
    """One view per run, of the kind that suits where the output goes."""
    kind = Panelled if console.is_terminal else Plain
    return [kind(console, total, label) for label in labels]


@contextmanager
def live(console: Console, shown: RenderableType) -> Iterator[None]:
    """Redraw `shown` while inside, on a terminal; elsewhere nothing."""
    if not console.is_terminal:
        yield
        return
    with Live(shown, console=console, transient=True, refresh_per_second=4):
        yield


@contextmanager
def progress_for(config: RunConfig, quiet: bool = False) -> Iterator[View]:
    """The display of one run."""
    console = make_console()
    if quiet:
        yield Silent(console, config.steps)
        return
    title = f"{config.method.name} on {config.task.name}, {config.model}" if console.is_terminal else ""
    (view,) = views_for(console, config.steps, [title])
    with live(console, view):  # type: ignore[arg-type]  # drawn where it is a panel
        yield view


def facts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The few numbers of a step that a person watches."""
    shown: dict[str, str] = {}
    measured, target = metrics.get("entropy_control/measured"), metrics.get("entropy_control/target")
    if measured is not None:
        shown["entropy"] = f"{measured:.3f}" + (f" (target {target:.3f})" if target is not None else "") + " nats"
    if (output := metrics.get("entropy_control/output")) is not None:
        shown["output"] = f"{output:+.2f}" + (" at its limit" if metrics.get("entropy_control/saturated") else "")
    if (reward := metrics.get("reward")) is not None:
        shown["reward"] = f"{reward:.2f}"
    scores = ("eval/greedy", "eval/avg@", "eval/pass@")
    (judged,) = shown_once([{name: value for name, value in metrics.items() if name.startswith(scores)}])
    held_out = [f"{name[5:]} {value:.2f}" for name, value in judged.items()]
    if held_out:
        shown["held-out"] = ", ".join(held_out)
    return shown


def clock(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
