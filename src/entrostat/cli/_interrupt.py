"""Ctrl-C, remembered: an import that it breaks off may turn it into another error."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import Any

STOPPED = 130  # as shells say it
_asked = False


def listen() -> None:
    """Remember Ctrl-C from here on, where it is to be obeyed at all: not in the background of a shell."""
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if default and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _remember)


def asked() -> bool:
    """Whether Ctrl-C was pressed since `listen`."""
    return _asked


def behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that an error came of: typer makes an exit of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def end(said: str = "") -> int:
    """Say that it ends, and let another Ctrl-C not break into the end. Returns the exit code."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # nobody reads any more
        print(said or "stopped", file=sys.stderr, flush=True)
    return STOPPED


def _remember(number: int, frame: Any) -> None:
    global _asked
    _asked = True
    raise KeyboardInterrupt
