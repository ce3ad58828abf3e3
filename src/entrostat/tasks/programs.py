"""Problems that a data set makes by running programs: in a process of its own, with a time limit for each.

A program of a collection may compute or wait for ever, write files, print, or end its process. Here it does so in a folder that
goes again, its output is dropped, and the trainer waits for it no longer than the limits.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from entrostat.errors import DataError

SECONDS = 5.0
"""Processor time that one program may take [s]: how busy the machine is does not decide which problems there are."""
WAIT = 120.0
"""Time that may pass until one program has ended, which one that sleeps or reads would not [s]."""

Entry = dict[str, Any]


def entries(
    place: str, options: dict[str, Any], count: int, seconds: float = SECONDS, wait: float = WAIT
) -> list[Entry | None]:
    """Entries 0 to `count` - 1 of a data set, None in the place of one whose program broke off or took too long.

    Args:
        place: `module:function` that returns the data set, given `options`, which JSON can hold.
        seconds, wait: see `SECONDS` and `WAIT`.

    Raises:
        DataError: the data set does not load in its process.
    """
    made: list[Entry | None] = []
    while len(made) < count:  # a process that ended is followed by one that begins behind the program that ended it
        made += _of_one_process([place, options, len(made), count, seconds], wait)
        if len(made) < count:
            made.append(None)
    return made


def _of_one_process(order: list[Any], wait: float) -> list[Entry | None]:
    reading, writing = os.pipe()
    code = (
        f"import sys; sys.path[:] = {[os.path.abspath(path) for path in sys.path if path]!r}\n"
        f"from entrostat.tasks.programs import make; make({writing}, sys.argv[1])"
    )
    with tempfile.TemporaryDirectory() as folder, os.fdopen(reading, "rb", buffering=0) as source:
        process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-X", "utf8", "-c", code, json.dumps(order)],
            cwd=folder,
            env=os.environ | {"PYTHONHASHSEED": "0"},  # some go through sets of texts
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[writing],
            start_new_session=True,  # what a program starts ends with it
        )
        os.close(writing)
        try:
            lines = _lines(source, wait)
        finally:
            with contextlib.suppress(
                ProcessLookupError, PermissionError
            ):  # it may have ended, which macOS takes for the latter
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if not lines:
        raise DataError(f"{order[0]} does not load in a separate process with {order[1]}")
    return [json.loads(line) for line in lines[1:]]


def _lines(source: Any, wait: float) -> list[bytes]:
    """The whole lines that come, until there is no more or none came for `wait` seconds."""
    said, deadline = bytearray(), time.monotonic() + wait
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            part = source.read(1 << 16)
            if not part:
                break
            said += part
            if b"\n" in part:
                deadline = time.monotonic() + wait
    return bytes(said).split(b"\n")[:-1]


def make(descriptor: int, order: str) -> None:
    """The life of the process: a line once the data set is loaded, then one for each entry."""
    place, options, first, count, seconds = json.loads(order)
    module, _, name = place.partition(":")
    dataset = getattr(importlib.import_module(module), name)(**options)
    with os.fdopen(descriptor, "w") as to:
        print("loaded", file=to, flush=True)
        for index in range(first, count):
            signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends the process
            signal.setitimer(signal.ITIMER_PROF, seconds)
            random.seed(index)  # some draw from it, and the problem must be the same when it is made again
            np.random.seed(index)
            line = _made(dataset, index)
            signal.setitimer(signal.ITIMER_PROF, 0)
            print(line, file=to, flush=True)


def _made(dataset: Any, index: int) -> str:
    try:
        return json.dumps(dataset[index], default=str)
    except (Exception, SystemExit):  # whatever the program of that entry does
        return "null"
