"""Methods composed: each link changes what the links before it left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from entrostat.control.base import check_measured
from entrostat.control.knob import is_feedback
from entrostat.errors import ConfigError, StateError
from entrostat.methods.base import Link, Source
from entrostat.types import Summary, Surrogate, TokenBatch

_Renaming: TypeAlias = Callable[[dict[str, float]], dict[str, float]]


@dataclass(frozen=True)
class Chain:
    """A sequence of links under one name; itself a method. A published method is a chain with a `Source`."""

    links: tuple[Link, ...]
    name: str = "chain"
    source: Source | None = None

    def __post_init__(self) -> None:
        owner: dict[str, str] = {}
        for link in self.links:
            if not isinstance(link, Link):
                raise ConfigError(f"a chain is made of methods, got {link!r}")
            for field in sorted(link.writes):
                if field in owner:
                    raise ConfigError(
                        f"{owner[field]!r} and {link.name!r} both write {field!r}: one of them would undo the other. "
                        "Leave one out"
                    )
                owner[field] = link.name

    @property
    def requires(self) -> frozenset[str]:
        """Statistics that any link needs; the measurement itself needs logp and entropy."""
        return frozenset({"logp", "entropy"}).union(*(link.requires for link in self.links))

    @property
    def needs_rewards(self) -> bool:
        return any(link.needs_rewards for link in self.links)

    @property
    def needs_stale_data(self) -> bool:
        """Whether nothing in it acts where every importance ratio is 1."""
        return bool(self.links) and all(link.needs_stale_data for link in self.links)

    @property
    def targets(self) -> list[Any]:
        """The targets of its controllers."""
        controllers = [c for link in self.links for c in link.knobs.values()]
        return [c.target for c in controllers if getattr(c, "target", None) is not None]

    def with_delay(self, steps: int) -> Chain:
        """The same chain for a host whose outputs first act `steps` optimizer steps after a measurement: 0 or 1."""
        return replace(self, links=tuple(link.with_delay(steps) for link in self.links))

    @property
    def sets_temperature(self) -> bool:
        """Whether it acts through the sampling temperature, which the host must then take from `temperature`."""
        return any("temperature" in link.writes for link in self.links)

    def temperature(self, state: tuple[Any, ...]) -> float:
        """Factor on the host's sampling temperature for the next batch."""
        return math.prod(link.temperature(own) for link, own in zip(self.links, state, strict=True))

    def init(self) -> tuple[Any, ...]:
        return tuple(link.init() for link in self.links)

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: tuple[Any, ...]) -> Surrogate:
        sums = dict(surrogate.sums)
        for index, (link, own) in enumerate(zip(self.links, state, strict=True)):
            surrogate = link.apply(replace(surrogate, sums={}), batch, own)
            sums |= {_prefix(index, link) + name: value for name, value in surrogate.sums.items()}
        return replace(surrogate, sums=sums) if self.links else surrogate

    def update(self, state: tuple[Any, ...], summary: Summary) -> tuple[tuple[Any, ...], dict[str, float]]:
        after: list[Any] = []
        metrics: dict[str, float] = {}
        if summary.tokens:
            metrics["measured"] = summary.mean("entropy")
            check_measured(metrics["measured"])
        for (link, mine, named), own in zip(self._shares(summary), state, strict=True):
            moved, values = link.update(own, mine)
            after.append(moved)
            metrics |= named(values)
        return tuple(after), metrics

    def report(self, summary: Summary) -> dict[str, float]:
        """The metrics of `update` that are not the controllers': what the objective does that these sums are of."""
        metrics: dict[str, float] = {}
        for link, mine, named in self._shares(summary):
            metrics |= named(link.report(mine) if mine.tokens else {})
        return metrics

    def _shares(self, summary: Summary) -> Iterator[tuple[Link, Summary, _Renaming]]:
        """Each link with the sums as it sees them and with what its metrics are called.

        The first link with a controller, and those before it, own the plain names; a later one says whose they are.
        """
        fed_back = False
        for index, link in enumerate(self.links):
            prefix = _prefix(index, link)
            mine = {name.removeprefix(prefix): v for name, v in summary.values.items() if name.startswith(prefix)}
            before = f"{link.name}/" if fed_back else ""
            yield link, Summary({**summary.values, **mine}), partial(_renamed, before)
            fed_back = fed_back or any(is_feedback(knob) for knob in link.knobs.values())

    def ahead(self, before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[Any, ...]:
        """The state to act with on the very batch that led from `before` to `after`; see `Link.ahead`."""
        return tuple(link.ahead(b, a) for link, b, a in zip(self.links, before, after, strict=True))

    def state_to_dict(self, state: tuple[Any, ...]) -> list[Any]:
        """The state as plain JSON values, exact."""
        return [link.state_to_dict(own) for link, own in zip(self.links, state, strict=True)]

    def state_from_dict(self, values: list[Mapping[str, Any]]) -> tuple[Any, ...]:
        """The inverse of `state_to_dict`; `StateError` where it does not fit this chain."""
        if not isinstance(values, list) or len(values) != len(self.links):
            raise StateError(
                f"the saved state does not fit {self.name!r}, which has {len(self.links)} links: {values!r}"
            )
        return tuple(link.state_from_dict(own) for link, own in zip(self.links, values, strict=True))


def _renamed(before: str, values: dict[str, float]) -> dict[str, float]:
    return {before + name: value for name, value in values.items()}


def _prefix(index: int, link: Link) -> str:
    """Before the names of a link's sums: two links of one chain may add up something under the same name."""
    return f"{index}.{link.name}/"


def chain(*methods: Link | Chain, name: str | None = None, source: Source | None = None) -> Chain:
    """Compose methods, first to last. Chains among them are taken apart into their links.

    Raises:
        ConfigError: two links write the same field of the objective; the message names both.
    """
    links: list[Link] = []
    for method in methods:
        links.extend(method.links if isinstance(method, Chain) else (method,))
    if source is None and len(methods) == 1 and isinstance(methods[0], Chain):
        source = methods[0].source
    label = name or "+".join(getattr(method, "name", type(method).__name__) for method in methods)
    return Chain(tuple(links), label or "observe", source)
