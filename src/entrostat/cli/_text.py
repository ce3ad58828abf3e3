"""Text of others on a terminal: shown as text, never obeyed."""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def shown(text: object) -> str:
    """The text with control characters, and those that turn the direction of writing, as their escapes."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else _escape(c)
        for c in str(text)
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


class Forgiving:
    """A stream whose reader may go away, as `entrostat train | head` does; training goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError):
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._drop()

    def _drop(self) -> None:
        """Write nowhere from here on, so that the interpreter's own flush at its end does not fail either."""
        standard = self._stream is sys.stdout
        self._stream = open(os.devnull, "w")  # noqa: SIM115  # for the life of the process
        if standard:
            sys.stdout = self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def console() -> Console:
    """Where commands print: no markup and no emoji codes in what others wrote, no end with the reader's."""
    from rich.console import Console

    return Console(soft_wrap=True, markup=False, emoji=False, file=Forgiving(sys.stdout))  # type: ignore[arg-type]
