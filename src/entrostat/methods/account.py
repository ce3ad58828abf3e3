"""The account of the entropy flow, without changing anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from entrostat.methods.authority import REQUIRES
from entrostat.methods.base import Link
from entrostat.methods.chain import Chain
from entrostat.methods.record import Card, Source
from entrostat.methods.registry import preset, source


@dataclass(frozen=True)
class Account(Link):
    """Asks for the statistics that the account of the flow is made of (`token_entropy/flow...`)."""

    card: ClassVar[Card] = Card("account", effect="none", want=REQUIRES)


@preset(Source("none", "plain policy optimization", "measures, changes nothing"), effect="none")
def observe(account: bool = True) -> Chain:
    """Measure and log; leave the objective as the host made it.

    Args:
        account: log the entropy flow too, which needs the baseline statistic.
    """
    return Chain((Account(),) if account else (), "observe", source("observe"))
