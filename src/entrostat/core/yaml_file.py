"""YAML as plain values: the safe part of it, bounded, with the scalars of YAML 1.2.

`yes` and `on` are text, as are `12:30:45` and dates. An interpolation such as `${oc.env:HOME}` is refused: what a configuration
says is what is used, and what is written into a run's folder never came from somebody's environment. Anchors and aliases work,
but not to make something large of something small.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, ClassVar

import yaml

from entrostat.errors import ConfigError

LARGEST, DEEPEST, MOST_NODES = 1_000_000, 50, 20_000  # characters of a file; levels and values of what it expands to
_INTERPOLATION = re.compile(r"\$\{[^}]*\}")
_SCALARS = {
    "tag:yaml.org,2002:bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    "tag:yaml.org,2002:null": (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "tag:yaml.org,2002:int": (re.compile(r"^[-+]?[0-9][0-9_]*$"), "-+0123456789"),
    "tag:yaml.org,2002:float": (
        re.compile(r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
        "-+0123456789.",
    ),
}  # fmt: skip


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_tag, _pattern, list(_first))
    _Dumper.add_implicit_resolver(_tag, _pattern, list(_first))


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node).replace("_", ""))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = (loader.construct_object(key) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
    repeated = [key for key, count in Counter(keys).items() if count > 1]
    if repeated:
        raise ConfigError(f"the key {str(repeated[0])!r} is given twice: {node.start_mark}")
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse(text: str, where: str) -> Any:
    """Plain values from YAML; `ConfigError` says what is wrong with `where`."""
    if len(text) > LARGEST:
        raise ConfigError(f"{where} has more than {LARGEST:,} characters: is it a configuration?")
    try:
        loader = _Loader(text)
        loader.name = where
        try:
            values = loader.get_single_data()
        finally:
            loader.dispose()
    except RecursionError as error:
        raise ConfigError(f"{where} is nested too deeply; a configuration needs a few levels") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error
    _bounded(values, where)
    _check(values, where)
    return values


def dump(values: Any) -> str:
    """YAML that `parse` reads back as the same values."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def _bounded(values: Any, where: str) -> None:
    """Refuse aliases that contain themselves, or expand into more than a configuration can mean. Each part is counted once."""
    sizes: dict[int, int] = {}

    def size(part: Any, depth: int) -> int:
        if not isinstance(part, dict | list):
            return 1
        if depth > DEEPEST:
            raise ConfigError(
                f"{where} is nested too deeply, or an alias in it contains itself; a configuration needs a few levels"
            )
        if id(part) not in sizes:
            inner = part.values() if isinstance(part, dict) else part
            sizes[id(part)] = 1 + sum(size(each, depth + 1) for each in inner)
        return sizes[id(part)]

    if (count := size(values, 0)) > MOST_NODES:
        raise ConfigError(
            f"{where} holds {count:,} values, with those that its aliases repeat, more than {MOST_NODES:,}: is it a "
            "configuration?"
        )


def _check(part: Any, where: str, path: str = "") -> None:
    if isinstance(part, dict):
        for key, value in part.items():
            if not isinstance(key, str):
                raise ConfigError(f"{where}: the key {key!r} under {path or 'the top'} is not text: put it in quotes")
            _check(value, where, f"{path}.{key}" if path else key)
    elif isinstance(part, list):
        for index, value in enumerate(part):
            _check(value, where, f"{path}.{index}")
    elif isinstance(part, str) and (found := _INTERPOLATION.search(part)):
        raise ConfigError(
            f"{path or where}: {found[0]!r} is an interpolation, which is not resolved here: write the value itself"
        )
    elif not isinstance(part, str | int | float | None):
        raise ConfigError(
            f"{path or where}: a {type(part).__name__} has no place in a configuration: write text or a number"
        )
