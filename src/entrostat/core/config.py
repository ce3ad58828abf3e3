"""Settings as a user writes them: a YAML file and dotted overrides, read as plain values and checked key by key.

Precedence: built-in defaults, then the file, then `key.path=value` overrides. An unknown key or a bad value is a
`ConfigError` that names the dotted key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from entrostat.core.yaml_file import LARGEST, parse
from entrostat.errors import ConfigError, did_you_mean

METHOD = "hold"
"""The method of a run that names none."""

_Kind = TypeVar("_Kind", bound=BaseModel)


class Named(BaseModel):
    """A name and the options of what it names, side by side: `{name: flow, target: 0.3}`."""

    model_config = ConfigDict(extra="allow", strict=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


def named(value: Any, default: str) -> Any:
    """`observe` is short for `{name: observe}`; options without a name belong to the default."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and "name" not in value:
        return {"name": default, **value}
    return value


def read_values(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Any:
    """What a YAML file and overrides say, as plain values that nothing has checked; `ConfigError` where they cannot be read."""
    merged = _read(path) if path is not None else {}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not all(key.split(".")):
            raise ConfigError(f"override {override!r} is not of the form key.path=value")
        value = parse(text, f"{key}: the override {override!r}")
        for name in reversed(key.split(".")):
            value = {name: value}
        merged = _merged(merged, value)
    return merged


def _merged(old: Any, new: Any, depth: int = 0) -> Any:
    """`new` over `old`, mapping by mapping."""
    if not isinstance(new, dict):
        return new
    if isinstance(old, str) and depth == 1:
        old = {"name": old}  # `method=entropic method.kp=2`: an option joins the name, it does not replace it
    if not isinstance(old, dict):
        return new
    return old | {key: _merged(old.get(key), value, depth + 1) for key, value in new.items()}


def checked(kind: type[_Kind], values: Any) -> _Kind:
    """Plain values as a configuration of one kind; `ConfigError` names the dotted key of what is wrong."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_complaint(each, kind) for each in error.errors())) from error


def _read(path: str | Path) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LARGEST + 1)  # of a device, or of a file that is no configuration, no more than says so
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror or error}; check the path") from error
    except ValueError as error:  # not UTF-8, or a NUL in the path
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    values = parse(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list) else f"{values!r}"
        raise ConfigError(f"{path} holds {kind}; a configuration is a mapping such as `steps: 100`")
    return values


def _complaint(error: Any, kind: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the configuration"
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg'].lower()}, got {_short(error['input'])}"
    field = kind.model_fields.get(str(error["loc"][0]))
    inner = field.annotation if field is not None else None
    section = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else kind
    known = list(section.model_fields)
    near = did_you_mean(str(error["loc"][-1]), known) or _where_it_belongs(error, kind)
    return f"{where}: unknown key{near}; there are {', '.join(known)}"


def _where_it_belongs(error: Any, kind: type[BaseModel]) -> str:
    """` (did you mean eval.every?)` for a key of a part that stands alone; of a part with names of its own it may be any."""
    if len(error["loc"]) != 1 or isinstance(error["input"], dict):
        return ""
    key, parts, open_parts = str(error["loc"][0]), [], []
    for name, field in kind.model_fields.items():
        of = field.annotation
        if of is Named or field.annotation == dict[str, Any]:
            open_parts.append(f"{name}.{key}")
        elif isinstance(of, type) and issubclass(of, BaseModel) and key in of.model_fields:
            parts.append(f"{name}.{key}")
    return f" (did you mean {' or '.join(parts or open_parts)}?)" if parts or open_parts else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
