"""How a run looks while it goes on: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

if TYPE_CHECKING:
    from entrostat.run.config import RunConfig
    from entrostat.run.train import Outcome

PLAIN_LINES = 20  # in a whole run, where there is no terminal


class View:
    """What the displays have in common: notes, the time left, and the closing words. Alone it shows no steps."""

    def __init__(self, console: Console, total: int) -> None:
        self.console, self.total = console, total
        self.started: tuple[int, float] | None = None

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        pass

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


class Silent(View):
    """Errors alone are worth a word."""

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
            self.note(f"step {step}/{self.total}  {cells}  left {left}")


class Panelled(View):
    """A panel that is redrawn at every step."""

    def __init__(self, console: Console, total: int, title: str) -> None:
        super().__init__(console, total)
        self.title = title
        self.seen: dict[str, str] = {}
        self.live = Live(self.panel(0), console=console, transient=True, auto_refresh=False)

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.seen |= facts(metrics)
        self.live.update(self.panel(step), refresh=True)

    def panel(self, step: int) -> Panel:
        grid = Table.grid(padding=(0, 2))
        grid.add_row("step", f"{step}/{self.total}  left {self.left(step)}")
        grid.add_row("", ProgressBar(total=self.total, completed=step, width=40))
        for name, value in self.seen.items():
            grid.add_row(name, value)
        return Panel(grid, title=self.title, title_align="left", expand=False)


@contextmanager
def progress_for(config: RunConfig, quiet: bool = False) -> Iterator[View]:
    """The display that suits where the output goes."""
    console = Console(soft_wrap=True)
    if quiet:
        yield Silent(console, config.steps)
    elif not console.is_terminal:
        yield Plain(Console(file=sys.stdout, soft_wrap=True, width=200), config.steps)
    else:
        view = Panelled(console, config.steps, f"{config.method.name} on {config.task.name}, {config.model}")
        with view.live:
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
    held_out = [f"{name[5:]} {value:.2f}" for name, value in metrics.items() if name.startswith("eval/")]
    if held_out:
        shown["held-out"] = ", ".join(held_out)
    return shown


def closing_table(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """Runs side by side, one row each."""
    table = Table(title_justify="left")
    for heading in (
        "run",
        "entropy start",
        "end",
        "target",
        "rms error",
        "reward start",
        "end",
        "held-out start",
        "end",
    ):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for name, summary in summaries.items():
        entropy, reward = summary.get("entropy", {}), summary.get("reward", {})
        error = entropy.get("second_half") or {}
        rms = number(error.get("rms_error"))
        if (relative := error.get("relative_rms_error")) is not None:
            rms += f" ({relative:.1%})"
        table.add_row(
            name,
            *(number(entropy.get(key)) for key in ("start", "end", "target_end")),
            rms,
            *(number(reward.get(key), 2) for key in ("start", "end")),
            *(held_out(summary.get("eval", {}).get(key, {})) for key in ("start", "end")),
        )
    return table


def held_out(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{name} {value:.2f}" for name, value in values.items() if name != "step") or "-"


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def clock(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
