"""Warnings that are said once in a run."""

from __future__ import annotations

import warnings


class Once:
    """Remembers by name what was said."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, name: str, text: str, stacklevel: int) -> None:
        """Warn, unless it was said before; `stacklevel` as of `warnings.warn`, counted from who calls this."""
        if name not in self._said:
            self._said.add(name)
            warnings.warn(text, stacklevel=stacklevel + 1)
