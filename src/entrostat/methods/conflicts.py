"""What links of one chain cannot share: a field, a name, the measured entropy, and advantages that one of them replaces."""

from __future__ import annotations

from collections.abc import Sequence

from entrostat.errors import ConfigError
from entrostat.methods.base import Link


def check_links(links: Sequence[Link]) -> None:
    """`ConfigError` names two links of which one would undo the other."""
    owner: dict[str, str] = {}
    controlled: list[str] = []
    names: set[str] = set()
    for link in links:
        if not isinstance(link, Link):
            raise ConfigError(f"a chain is made of methods, got {link!r}")
        for field in sorted(link.writes):
            if field in owner:
                raise ConfigError(
                    f"{owner[field]!r} and {link.name!r} both write {field!r}: one of them would undo the other. "
                    "Leave one out"
                )
            owner[field] = link.name
        if link.name in names:
            raise ConfigError(f"{link.name!r} is in the chain twice, under the same name. Leave one out")
        names.add(link.name)
        controlled += [f"{link.name}.{knob}" for knob in link.feedback]
    if len(controlled) > 1:
        raise ConfigError(
            f"{controlled[0]} and {controlled[1]} are both moved by the measured entropy, and would work against each other. "
            "Give one of them a number or a schedule"
        )
    _check_reward_stage(links, owner)


def _check_reward_stage(links: Sequence[Link], owner: dict[str, str]) -> None:
    """Advantages and rows of the reward stage reach the loss as its advantages, which such a link does not read."""
    for link in links:
        if link.record.own_advantages is None or "advantages_BT" not in link.writes:
            continue
        for field in ("advantages", "rows"):
            if field in owner:
                raise ConfigError(
                    f"{owner[field]!r} changes {field} in the reward stage, but {link.name!r} builds advantages from the raw "
                    f"rewards in the loss, so {owner[field]!r} would have no effect. Leave one out"
                )
