"""Training runs in processes of their own, followed through their run folders."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entrostat.errors import ConfigError, EntrostatError, RunFailed
from entrostat.run.folder import METRICS

Starts = Mapping[str, Callable[[], "Child"]]
POLL = 0.25  # seconds


@dataclass
class Child:
    """`entrostat train` in a process of its own, on one thread; what it prints goes to `<folder>.log`.

    With `resume`, the run in the folder goes on as it was configured.
    """

    folder: Path
    settings: Sequence[str]
    resume: bool = False
    process: subprocess.Popen[bytes] = field(init=False)
    read: int = 0

    def __post_init__(self) -> None:
        told = ["--resume", str(self.folder)] if self.resume else [*self.settings, "--out", str(self.folder)]
        command = [sys.executable, "-m", "entrostat.cli.main", "train", *told]
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            # A session of its own: Ctrl-C reaches it once, through `stop`, and not a second time from the terminal.
            self.process = subprocess.Popen(
                [*command, "--quiet"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def news(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics that have come since the last call."""
        path = self.folder / METRICS
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self.read)
            fresh = file.read().rpartition(b"\n")[0]
        if fresh:
            self.read += len(fresh) + 1
            yield from (json.loads(line) for line in fresh.splitlines())

    def stop(self) -> None:
        """Ask it to save a checkpoint and end, and wait until it has."""
        if self.running:
            self.process.send_signal(signal.SIGINT)
        self.process.wait()

    def last_words(self) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-8:])


def check_installed() -> None:
    """Ask for what a run needs before its folder is made: the error of a child comes with folders that hold nothing."""
    for name in ("datasets", "trl", "matplotlib"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name, name=name)


def follow(starts: Starts, at_once: int) -> Generator[tuple[str, dict[str, Any] | None]]:
    """Run them, some at a time: yields a run's name with each row of its metrics, and with None when it has ended.

    The first that fails ends all, each with a checkpoint to go on from; so does closing the generator.
    """
    waiting, running = dict(starts), dict[str, Child]()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                name = next(iter(waiting))
                running[name] = waiting.pop(name)()
            for name, child in list(running.items()):
                alive = child.running  # asked first, so that no news is missed
                for row in child.news():
                    yield name, row
                if not alive:
                    if child.process.returncode:
                        raise _ended(name, child)
                    del running[name]
                    yield name, None
            time.sleep(POLL if running else 0)
    finally:
        for child in running.values():
            child.stop()


def _ended(name: str, child: Child) -> EntrostatError:
    """What to say of a run that has failed: with exit code 2 what it was given was wrong, and so was what this command was."""
    kind = ConfigError if child.process.returncode == 2 else RunFailed
    return kind(f"the run {name!r} in {child.folder} failed: {child.last_words()}")
