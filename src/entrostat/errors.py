"""What can go wrong, by kind.

Every error of the library is an `EntrostatError` and also the standard-library class that it stands for, so that both
`except EntrostatError` and `except ValueError` do what a reader expects. A message says what was wrong, the value, and
what to do about it.

| kind | when |
| --- | --- |
| `ConfigError` | a setting, argument or configuration key is wrong |
| `DataError` | a tensor, file or batch is wrong: shape, dtype, NaN, unreadable |
| `MissingStatistic` | a method needs a statistic that was not computed |
| `StateError` | a controller state is missing, corrupted or belongs to another method |
| `HostError` | a host (TRL, verl) has a version or a setting that control cannot work beside |
| `SaveError` | a file of a run cannot be written: a full disk, no permission |
| `RunFailed` | a training run broke off: the policy has diverged, the host failed |
| `NotInstalled` | an optional dependency is absent |

The command line tells two kinds apart by its exit code (`exit_code`): what was given is wrong, or what was asked for failed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any


class EntrostatError(Exception):
    """Base of every error raised by Entrostat."""


class ConfigError(EntrostatError, ValueError):
    """A setting is wrong."""


class DataError(EntrostatError, ValueError):
    """A tensor, file or batch is wrong."""


class MissingStatistic(EntrostatError, LookupError):
    """A statistic that is needed was not computed."""


class StateError(EntrostatError, RuntimeError):
    """A controller state is missing, corrupted or another method's."""


class HostError(EntrostatError, RuntimeError):
    """The training framework has a version or a setting that control cannot work beside."""


class SaveError(EntrostatError, OSError):
    """A file of a run cannot be written."""


class RunFailed(EntrostatError, RuntimeError):
    """A training run broke off."""


class NotInstalled(EntrostatError, ImportError):
    """An optional dependency is absent."""


def exit_code(error: EntrostatError) -> int:
    """Of a command: 2 where what it was given is wrong, a setting, file or log; 1 where what it was asked to do failed."""
    return 1 if isinstance(error, RunFailed | SaveError | NotInstalled) else 2


def blame(section: str, options: Mapping[str, Any], error: Exception) -> ConfigError:
    """An error of what `options` were given to, as a `ConfigError` that names the dotted key where the message does, or the key
    whose value the message repeats."""
    text = str(error)
    words = re.findall(r"\w+", text)
    values = {key: value for key, value in options.items() if isinstance(value, str) and value.lower() != "none"}
    named = [key for key in options if key in words] or [
        key for key, value in values.items() if value in words or repr(value) in text
    ]
    return ConfigError(f"{section}.{named[0]}: {text}" if named else f"{section}: {text}")


def did_you_mean(key: str, known: Sequence[str]) -> str:
    """` (did you mean 'x'?)`, or nothing where no known key is close."""
    close = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
