"""Methods composed: each link changes what the links before it left."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from entrostat.control.base import check_measured
from entrostat.errors import ConfigError, StateError
from entrostat.methods.authority import change_mean, change_names, change_sums
from entrostat.methods.base import Link, outputs
from entrostat.methods.conflicts import check_links
from entrostat.methods.record import Source, Stage
from entrostat.methods.scopes import threshold
from entrostat.types import Rollouts, Summary, Surrogate, TokenBatch, Totals, Want

Sums = tuple[Mapping[str, Tensor], ...]
"""What one micro-batch adds to each link's sums, in the chain's order; the chain's own come last."""

PREDICTED = ("uncontrolled", "predicted")
"""The chain's own sums: the first-order change of entropy as the host's objective has it, and as the chain leaves it."""


@dataclass(frozen=True)
class Chain:
    """A sequence of links under one name. A published method is a chain with a `Source`."""

    links: tuple[Link, ...]
    name: str = "chain"
    source: Source | None = None

    def __post_init__(self) -> None:
        check_links(self.links)

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def requires(self) -> frozenset[Want]:
        """Statistics that any link needs; the measurement itself needs logp and entropy."""
        return frozenset[Want]({"logp", "entropy"}).union(*(link.requires for link in self.links))

    @property
    def of_rollouts(self) -> frozenset[Want]:
        """Statistics whose sums over each completion the reward stage reads."""
        return frozenset[Want]().union(*(link.record.of_rollouts for link in self.links))

    @property
    def writes(self) -> frozenset[str]:
        """What any link changes; see `record.Card.writes`."""
        return frozenset[str]().union(*(link.writes for link in self.links))

    @property
    def needs(self) -> frozenset[str]:
        """What the loss stage reads besides: "rewards", "groups"; "stale" where nothing in it acts while ratios are 1."""
        every = [frozenset(link.record.needs) for link in self.links]
        some = frozenset[str]().union(*every) - {"stale"}
        return some | {"stale"} if every and all("stale" in each for each in every) else some

    @property
    def needs_rewards(self) -> bool:
        return "rewards" in self.needs

    @property
    def needs_stale_data(self) -> bool:
        """Whether nothing in it acts where every importance ratio is 1."""
        return "stale" in self.needs

    @property
    def stages(self) -> frozenset[Stage]:
        """Where its links act: "reward", "loss", "sampling"."""
        return frozenset[Stage]().union(*(link.stages for link in self.links))

    @property
    def targets(self) -> list[Any]:
        """The targets of its controllers."""
        controllers = [c for link in self.links for c in link.knobs.values()]
        return [c.target for c in controllers if getattr(c, "target", None) is not None]

    @property
    def goals(self) -> list[Any]:
        """The targets that its links follow without a controller."""
        own = [getattr(link, goal) for link in self.links for goal in link.card.goals]
        return [each for each in own if each is not None]

    @property
    def predicts(self) -> bool:
        """Whether it has the statistics that the predicted change of entropy takes."""
        return {"logp", "entropy", "baseline"} <= self.requires

    @property
    def sums(self) -> tuple[tuple[str, ...], ...]:
        """The names of each link's sums; the chain's own come last."""
        return (*(link.record.sums for link in self.links), change_names(PREDICTED) if self.predicts else ())

    @property
    def adds_terms(self) -> bool:
        """Whether it adds terms to the loss."""
        return any(name.startswith("terms/") for name in self.writes)

    @property
    def sets_temperature(self) -> bool:
        """Whether it acts through the sampling temperature, which the host must then take from `temperature`."""
        return "temperature" in self.writes

    @property
    def tempers_groups(self) -> bool:
        """Whether it has some groups sampled at another temperature than they are scored at."""
        return "group_temperatures" in self.writes

    def with_timing(self, delay: int, updates: int = 1) -> Chain:
        """The same chain for a host's rhythm; see `Link.with_timing`."""
        return replace(self, links=tuple(link.with_timing(delay, updates) for link in self.links))

    # -- what it does --------------------------------------------------------------------------------------------------

    def init(self) -> tuple[Any, ...]:
        return tuple(link.init() for link in self.links)

    def temperature(self, state: tuple[Any, ...]) -> float:
        """Factor on the host's sampling temperature for the next batch."""
        return math.prod(link.temperature(own) for link, own in zip(self.links, state, strict=True))

    def group_temperatures(self, groups: int, state: tuple[Any, ...]) -> tuple[float, ...]:
        """Factors on the temperature of the next batch with which its groups are sampled, and not scored."""
        each = [link.group_temperatures(groups, own) for link, own in zip(self.links, state, strict=True)]
        return tuple(math.prod(factors) for factors in zip((1.0,) * groups, *each, strict=True))

    def score(self, rollouts: Rollouts, state: tuple[Any, ...]) -> tuple[Rollouts, Sums]:
        """The reward stage: the rollouts as the links leave them, and each link's sums. Unscored rows get no advantage."""
        sums: list[Mapping[str, Tensor]] = []
        for link, own in zip(self.links, state, strict=True):
            rollouts = link.score(rollouts.replace(sums={}), own)
            sums.append(_declared(link, rollouts.sums))
        scored = rollouts.scored if rollouts.advantages.dim() == 1 else rollouts.scored.unsqueeze(1)
        return rollouts.replace(advantages=rollouts.advantages.masked_fill(~scored, 0), sums={}), (*sums, {})

    def account(self, surrogate: Surrogate, batch: TokenBatch, state: tuple[Any, ...]) -> tuple[Surrogate, Sums]:
        """The loss stage on one micro-batch: the objective changed, and each link's sums."""
        return self._fold(surrogate, batch, state, lambda index, _: state[index])

    def apply(self, surrogate: Surrogate, batch: TokenBatch, state: tuple[Any, ...]) -> Surrogate:
        """The objective changed, as `account` does, without the sums."""
        return self.account(surrogate, batch, state)[0]

    def step_on(
        self, surrogate: Surrogate, batch: TokenBatch, state: tuple[Any, ...], standard: Summary
    ) -> tuple[Surrogate, tuple[Any, ...], Totals, dict[str, float]]:
        """A whole optimizer step whose batch is at hand before its update: each link measures, steps, then acts, once each.

        Args:
            standard: the reduced sums of the batch.

        Returns:
            The objective changed; the next state; the totals; the metrics.
        """
        after: list[Any] = []
        metrics: dict[str, float] = {}
        whole = replace(batch, whole_step=True)

        def moved(index: int, sums: Mapping[str, Tensor]) -> Any:
            link, before = self.links[index], state[index]
            own, values = link.update(before, Totals(standard, (_floats(link, sums),)).of(0))
            after.append(own)
            metrics.update(values)
            return link.acting_state(before, own)

        changed, sums = self._fold(surrogate, whole, state, moved)
        totals = self.totals(standard, sums)
        metrics["measured"] = standard.mean("entropy")
        return changed, tuple(after), totals, metrics | self.report(totals, state)

    def _fold(
        self,
        surrogate: Surrogate,
        batch: TokenBatch,
        before: tuple[Any, ...],
        acting: Callable[[int, Mapping[str, Tensor]], Any],
    ) -> tuple[Surrogate, Sums]:
        """Each link measures what the links before it left, and acts on it in the state that `acting` gives it.

        Tokens whose advantage is no finite number are to the links as if they were padding.
        """
        plain, sums = surrogate, []
        batch = replace(batch, mask_BT=batch.mask & surrogate.advantages_BT.isfinite())
        for index, link in enumerate(self.links):
            measured = _declared(link, link.measure(surrogate, batch, before[index]))
            surrogate = link.apply(replace(surrogate, sums={}), batch, acting(index, measured))
            sums.append({**measured, **_declared(link, surrogate.sums)})
        own: dict[str, Tensor] = {}
        for name, end in zip(PREDICTED, (plain, surrogate), strict=True) if self.predicts else ():
            own |= change_sums(name, end, batch)
        return replace(surrogate, sums={}), (*sums, own)

    # -- what it learns ------------------------------------------------------------------------------------------------

    def update(self, state: tuple[Any, ...], totals: Totals) -> tuple[tuple[Any, ...], dict[str, float]]:
        """One optimizer step: the state after it, and the metrics."""
        after: list[Any] = []
        metrics: dict[str, float] = {}
        if not totals.standard.tokens:
            return state, metrics
        metrics["measured"] = totals.standard.mean("entropy")
        check_measured(metrics["measured"])
        for index, (link, own) in enumerate(zip(self.links, state, strict=True)):
            moved, values = link.update(own, totals.of(index), totals.fresh)
            after.append(moved)
            metrics |= values
        return tuple(after), metrics | self.report(totals, state)

    def totals(self, standard: Summary, sums: Sums) -> Totals:
        """The totals of an optimizer step that is one micro-batch on one process."""
        floats = [_floats(link, own) for link, own in zip(self.links, sums, strict=False)]
        return Totals(standard, (*floats, {name: float(value) for name, value in sums[-1].items()}))

    def report(self, totals: Totals, state: tuple[Any, ...]) -> dict[str, float]:
        """The metrics that are not the controllers': a link's own are `<link>/<metric>`, whatever stands beside it.

        Args:
            state: in which the links acted, or whose schedules they took.
        """
        last = totals.links[len(self.links)] if len(totals.links) > len(self.links) else {}
        own = Summary({**totals.standard.values, **last})
        metrics = {name: change_mean(name, own) for name in PREDICTED if name in last}
        for index, (link, acted) in enumerate(zip(self.links, state, strict=True)):
            mine = totals.of(index)
            metrics |= link.authority(mine)
            levels = {knob: level for knob, level in outputs(acted).items() if knob not in link.feedback}
            metrics |= {f"{link.name}/{name}": value for name, value in (levels | link.report(mine)).items()}
        return metrics

    # -- its state on disk ---------------------------------------------------------------------------------------------

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


def _declared(link: Link, sums: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The sums as they are, or `ConfigError` where one was not declared: every rank must add up the same vector."""
    record = link.record
    if unknown := [name for name in sums if name not in record.sums and name not in record.tops]:
        raise ConfigError(f"{link.name!r} adds up {unknown[0]!r}, which its card does not declare in sums or tops")
    return sums


def _floats(link: Link, sums: Mapping[str, Tensor]) -> dict[str, float]:
    """The sums of a batch that is the whole step, and the thresholds of its pools."""
    tops = link.record.tops
    return {name: threshold(value, tops[name]) if name in tops else float(value) for name, value in sums.items()}


def chain(*methods: Link | Chain, name: str | None = None, source: Source | None = None) -> Chain:
    """Combine methods, first to last. A chain among them is replaced by its links.

    Raises:
        ConfigError: no method; two methods of which one would undo the other (the message names both); two controllers.
    """
    if not methods:
        raise ConfigError("chain() needs at least one method; to measure and change nothing, use observe()")
    links: list[Link] = []
    for method in methods:
        links.extend(method.links if isinstance(method, Chain) else (method,))
    if source is None and len(methods) == 1:
        only = methods[0]
        source = only.source if isinstance(only, Chain) else only.card.source if isinstance(only, Link) else None
    label = name or "+".join(getattr(method, "name", type(method).__name__) for method in methods)
    return Chain(tuple(links), label, source)
