"""What a control asks of who records its tokens."""

from __future__ import annotations

from typing import Any, Protocol

from entrostat.types import Surrogate, TokenBatch, Want


class Recorder(Protocol):
    """Who keeps a sample of the tokens; see `attribution.TokenRecorder`. `needs`: the statistics that it reads."""

    @property
    def needs(self) -> frozenset[Want]: ...

    def due(self, step: int) -> bool: ...

    def add(self, step: int, batch: TokenBatch, changed: Surrogate) -> None: ...

    def finish(self, step: int) -> Any: ...

    def discard(self) -> None: ...
