"""What a host can express, checked against a method's record before anything is trained.

Each host declares one `Host`; `docs/capabilities.md` is generated from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from entrostat.control.knob import OpenLoop
from entrostat.errors import ConfigError, HostError
from entrostat.types import TERMS, Old, Statistic

if TYPE_CHECKING:
    from entrostat.methods.base import Link
    from entrostat.methods.chain import Chain
    from entrostat.methods.record import Division

STAGES = ("reward", "loss", "sampling")
FIELDS = (
    "advantages",
    "rows",
    "advantages_BT",
    "weight_BT",
    "keep_BT",
    "stopped_BT",
    "eps_low",
    "eps_high",
    "dual_clip",
    "form",
    "temperature",
    "group_temperatures",
)
"""What a method may write, besides terms; see `methods.record.Card.writes`."""


@dataclass(frozen=True)
class Host:
    """One training loop, or one setting of it.

    Attributes:
        name: for messages and the table.
        stages: those of the three that it supports.
        fields: fields of a surrogate and of rollouts that it can apply; see `FIELDS`.
        token_clips: whether an end of the clip range may differ from token to token.
        terms: what added terms may be made of: names of `types.TERMS`.
        term_statistics: whether a term may also be made of a `Statistic`.
        statistics: the named statistics that it computes; None: all.
        parameterized: whether it computes a `Statistic`; old: whether also under the old policy.
        data: whether its loss stage passes "rewards" and "groups".
        why: a field, stage, "term:...", "statistic" or other thing that it lacks -> the reason and what to do, as a clause.
    """

    name: str
    stages: frozenset[str] = frozenset(STAGES)
    fields: frozenset[str] = frozenset(FIELDS)
    token_clips: bool = True
    terms: frozenset[str] = frozenset(TERMS)
    term_statistics: bool = True
    statistics: frozenset[str] | None = None
    parameterized: bool = True
    old: bool = True
    data: frozenset[str] = frozenset({"rewards", "groups"})
    why: Mapping[str, str] = field(default_factory=dict)

    def lacks(self, method: Chain) -> list[tuple[str, str, str]]:
        """(link, key, what it asks for) of everything in the method that this host cannot express; the key is one of `why`."""
        return [(link.name, key, what) for link in method.links for key, what in self._of(link)]

    def _of(self, link: Link) -> list[tuple[str, str]]:
        missing = [(f"stage:{stage}", f"the {stage} stage") for stage in link.stages if stage not in self.stages]
        for written in sorted(link.writes):
            if not written.startswith("terms/") and written not in self.fields:
                missing.append((written, f"a change of {written}"))
        if link.record.per_token and not self.token_clips:
            missing.append(("token_clips", "a clip range of each token"))
        for of in link.record.terms:
            known = self.term_statistics if isinstance(of, Statistic) else of in self.terms
            if not known:
                missing.append(
                    ("term:statistic" if isinstance(of, Statistic) else f"term:{of}", f"a term made of {of}")
                )
        for want in sorted({*link.requires, *link.record.of_rollouts}, key=str):
            if isinstance(want, Old):
                known = self.old and (isinstance(want.of, str) or self.parameterized)
            elif isinstance(want, Statistic):
                known = self.parameterized
            else:
                known = self.statistics is None or want in self.statistics
            if not known:
                missing.append(("old" if isinstance(want, Old) else "statistic", f"the statistic {want}"))
        missing += [
            (need, f"{need} in the loss")
            for need in ("rewards", "groups")
            if need in link.record.needs and need not in self.data
        ]
        return missing

    def check(self, method: Chain) -> None:
        """Refuse a method that asks for more.

        Raises:
            HostError: naming the link, what it needs, and the way out where one is known.
        """
        for link, key, what in self.lacks(method):
            why = self.why.get(key, "take another method, or another host: docs/capabilities.md")
            raise HostError(f"{link!r} needs {what}, which {self.name} cannot express: {why}")


def check_replaced(method: Chain, given: Mapping[str, tuple[str, float]]) -> None:
    """Refuse two values for one thing: an end of the clip that the host was given and the method sets to something else.

    Args:
        given: field of a surrogate -> the host's setting of it, and its value as a surrogate has it; those alone that somebody
            has set.

    Raises:
        HostError: naming both, and how to say which is meant.
    """
    for link in method.links:
        for name, (setting, value) in given.items():
            if name not in link.writes:
                continue
            own = _constant(link, name)
            if own is None or not math.isclose(own, value, rel_tol=1e-6):
                to = "" if own is None else f", to {own:g}"
                raise HostError(
                    f"{setting} would have no effect: {link.name!r} sets that end of the clip range itself{to}. Leave {setting} "
                    "out, or give the method the same value"
                )


def check_completions(method: Chain, setting: str, count: int) -> None:
    """Refuse a method that needs more completions of each prompt than the host's setting asks for.

    Raises:
        ConfigError: naming the setting, its value, and what the method needs.
    """
    for link in method.links:
        try:
            link.check_completions(count)
        except ConfigError as error:
            raise ConfigError(f"{setting}={count}: {error}") from error


def check_ignored(method: Chain, given: Mapping[str, tuple[Any, Division | None]]) -> None:
    """Refuse settings of the host's advantages beside a method that builds its own.

    Args:
        given: the host's setting -> its value, and the division that it asks for (`Card.own_advantages`), None where it asks
            for something else; those alone that somebody has set.

    Raises:
        ConfigError: naming the setting, the method, and the way out.
    """
    for own in (link.record.own_advantages for link in method.links):
        for setting, (value, asked) in given.items():
            if own is not None and asked != own:
                raise ConfigError(
                    f"{setting}={value!r} would have no effect: {method.name!r} builds its advantages from the raw rewards, "
                    f"not from the host's. Leave {setting} at its default, or choose a method that keeps the host's advantages"
                )


def _constant(link: Link, name: str) -> float | None:
    """The number to which a link sets a field at every step, where it is one number."""
    knob = getattr(link, name, None)
    if isinstance(knob, OpenLoop):
        knob = knob.setting
    return float(knob) if isinstance(knob, int | float) else None


LOOP = Host("your own loop")
"""A training loop that uses `methods.loss`: it expresses everything."""
