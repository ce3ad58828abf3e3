"""The record of a method: what hosts, `chain`, docs and tests need to know of it without running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from entrostat.control.base import Action
from entrostat.methods.scopes import Top
from entrostat.types import Statistic, Want

Stage: TypeAlias = Literal["reward", "loss", "sampling"]
Need: TypeAlias = Literal["rewards", "groups", "stale"]
Division: TypeAlias = Literal["group", "none", "other"]
Effects: TypeAlias = Literal["raises", "lowers", "holds", "either", "none"]


@dataclass(frozen=True)
class Source:
    """Where a method comes from, and how ours differs; read by the docs, `entrostat methods` and the tests."""

    paper: str
    where: str
    defaults: str
    deviations: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is called by: the paper; the place where there is no paper ("none")."""
        return self.where if self.paper == "none" else self.paper

    @property
    def cited(self) -> str:
        """The paper and the place in it; the place alone where there is no paper."""
        return ", ".join(dict.fromkeys((self.name, self.where)))


@dataclass(frozen=True)
class Card:
    """The record of a method: what hosts, `chain`, docs and tests need to know of it.

    Attributes:
        name: as in metrics and messages.
        effect: on the entropy, beside the same training without it: "raises" or "lowers" it, "holds" a target, "either"
            way by its settings, or "none".
        want: statistics that `measure` and `apply` read besides logp and entropy.
        of_rollouts: statistics whose sums over each completion `score` reads.
        writes: what it changes: fields of `Surrogate`; "terms/NAME"; in the reward stage "advantages" or "rows"; when
            sampling "temperature" or "group_temperatures". Two links that write one field cannot be chained.
        per_token: fields of `writes` that it sets to a number for each token, not to one for all.
        own_advantages: of a method that builds advantages from raw rewards, in place of the host's, so that the host's settings
            of them have no effect: what they are divided by, the standard deviation of the "group", nothing ("none") or
            something "other". None: it starts from the host's.
        terms: what its terms are made of, see `Term.of`.
        needs: "rewards" and "groups" in the batch of the loss stage; "stale" where it does nothing while ratios are 1.
        knobs: field -> what a larger value does to the entropy. Such a field may be a number, a schedule or a controller.
        sums: names of what `measure` and `apply` add up over the step, 0-dimensional tensors.
        tops: names of what they pool over the step, 1-dimensional tensors -> the share of largest values whose threshold
            the totals then hold under the name; exact, over all ranks.
        pools: names of such pools whose share is the field `share`, where the field `scope` is "step".
        bounds: field -> the interval that it must lie in, as "(0, 1]".
        goals: fields that name an entropy of the policy, beside the targets of controllers: none above log V is reached.
        metrics: what `report` returns -> what it says, a clause each.
        notes: known faults and conditions, a clause each.
        source: where it comes from; a preset function brings its own.
        replaces: of a preset function, an option -> the options that have no effect beside it, and are refused.
    """

    name: str
    effect: Effects = "either"
    want: tuple[Want, ...] = ()
    of_rollouts: tuple[Want, ...] = ()
    writes: tuple[str, ...] = ()
    per_token: tuple[str, ...] = ()
    own_advantages: Division | None = None
    terms: tuple[str | Statistic, ...] = ()
    needs: tuple[Need, ...] = ()
    knobs: Mapping[str, Action] = field(default_factory=dict)
    sums: tuple[str, ...] = ()
    tops: Mapping[str, Top] = field(default_factory=dict)
    pools: tuple[str, ...] = ()
    bounds: Mapping[str, str] = field(default_factory=dict)
    goals: tuple[str, ...] = ()
    metrics: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source: Source | None = None
    replaces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
