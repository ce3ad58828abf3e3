"""Published methods by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import TypeVar

from entrostat.errors import ConfigError
from entrostat.methods.base import Link
from entrostat.methods.chain import Chain
from entrostat.methods.record import Card, Effects, Source
from entrostat.methods.settings import as_annotated

_L = TypeVar("_L", bound=Link)
_F = TypeVar("_F", bound=Callable[..., Chain])
_FACTORIES: dict[str, Callable[..., Link | Chain]] = {}
_CARDS: dict[str, Card] = {}
OBSERVE = "observe"
_PLAIN = {
    "baseline",
    "dapo",
    "grpo",
    "none",
    "off",
    "plain",
    "rloo",
    "vanilla",
}  # what training without control is called


def register(method: type[_L]) -> type[_L]:
    """Publish a method under its card's name: `kl_cov = register(KLCov)` is what users call."""
    if method.card.source is None:
        raise ConfigError(f"{method.__name__} has no source in its card: say where it comes from")
    _FACTORIES[method.card.name] = method
    _CARDS[method.card.name] = method.card
    return method


def preset(
    source: Source, effect: Effects, notes: tuple[str, ...] = (), replaces: Mapping[str, tuple[str, ...]] | None = None
) -> Callable[[_F], _F]:
    """Publish a function that returns a chain, under its own name: one idea's settings as a paper has them.

    `replaces` names the settings that another one takes the place of: beside it they would have no effect, and are refused.
    """

    def register(factory: _F) -> _F:
        name = factory.__name__
        _CARDS[name] = own = Card(name, effect, notes=notes, source=source, replaces=replaces or {})
        _FACTORIES[name] = checked = as_annotated(factory, own.replaces)
        return checked

    return register


def one(name: str, link: Link) -> Chain:
    """A preset of one link, under its name and with its source."""
    return Chain((link,), name, source(name))


def as_chain(name: str, built: Link | Chain) -> Chain:
    """What a factory built, as a chain under its published name and with its source."""
    return built if isinstance(built, Chain) else one(name, built)


def names() -> list[str]:
    """The names of all presets."""
    return sorted(_FACTORIES)


def source(name: str) -> Source:
    """Where a preset comes from."""
    _check(name)
    found = _CARDS[name].source
    assert found is not None
    return found


def card(name: str) -> Card:
    """The published record: effect, notes and source; what it needs is in its links'."""
    _check(name)
    return _CARDS[name]


def factory(name: str) -> Callable[..., Link | Chain]:
    """The function behind a preset."""
    _check(name)
    return _FACTORIES[name]


def _check(name: str) -> None:
    if name not in _FACTORIES:
        folded = str(name).lower().replace("-", "_")
        near = [folded] if folded in _FACTORIES else difflib.get_close_matches(folded, _FACTORIES, n=3)
        close = [OBSERVE] if folded in _PLAIN else near
        hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
        raise ConfigError(f"unknown method {name!r}{hint}; the command `entrostat methods` lists all {len(_FACTORIES)}")
