"""The account of the entropy flow, without changing anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from entrostat.methods.authority import REQUIRES
from entrostat.methods.base import Link


@dataclass(frozen=True)
class Account(Link):
    """Asks for the statistics that the account of the flow is made of (`token_entropy/flow...`)."""

    name: ClassVar[str] = "account"
    requires: ClassVar[frozenset[str]] = REQUIRES
