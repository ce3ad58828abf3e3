"""A method from plain values, as a configuration file gives them.

A knob may be a number, or a mapping of one key that names a schedule or a controller; the levels of a target may be
fractions of the entropy that the policy starts with:

    target: {linear: {start: 0.6, end: 0.3, steps: 100}}
    target: {cosine: {start: initial, end: 0.5 * initial, steps: 100}}
    controller: {pi: {target: 0.2, kp: 5, ki: 0.2}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entrostat.control.written import called
from entrostat.errors import ConfigError
from entrostat.methods import Chain, factory
from entrostat.methods.registry import as_chain


def build_method(name: str, options: Mapping[str, Any]) -> Chain:
    """The preset `name` with its options; `ConfigError` names the dotted key of what is wrong."""
    if not isinstance(name, str):
        raise ConfigError(f"method.name: must be text, as 'hold', with its options beside it, got {name!r}")
    try:
        build = factory(name)
    except ConfigError as error:
        raise ConfigError(f"method.name: {error}") from error
    return as_chain(name, called(build, options, "method"))


def make(name: str, **options: object) -> Chain:
    """A published method by name with its options, as a configuration file gives them.

    Raises:
        ConfigError: an unknown name or option (the message lists what there is), a missing or a bad value.
    """
    return build_method(name, options)
