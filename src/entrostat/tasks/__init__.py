"""Verifiable tasks: prompts with a checker.

| name | task |
| --- | --- |
| `countdown` | reach a target from given numbers in steps; needs nothing installed |
| `rg:<data set>` | any data set of reasoning-gym, such as `rg:chain_sum` |
| `<path>.jsonl` | a file of prompts and answers, checked as mathematics |
"""

from __future__ import annotations

import math
from typing import Any, get_type_hints

from entrostat.errors import ConfigError
from entrostat.tasks.base import Problem, Scored, Split, Task, score_all

__all__ = ["Problem", "Scored", "Split", "Task", "load_task", "score_all"]


def load_task(name: str, **options: Any) -> Task:
    """The task of that name; `options` are the task's own keyword arguments.

    Raises `ConfigError` for an unknown name or option.
    """
    try:
        if name == "countdown":
            from entrostat.tasks.countdown import Countdown

            return Countdown(**_of_their_types(Countdown, options))
        if name.startswith("rg:"):
            from entrostat.tasks.reasoning_gym import ReasoningGym

            return ReasoningGym(name.removeprefix("rg:"), **_of_their_types(ReasoningGym, options))
        if name.endswith(".jsonl"):
            from entrostat.tasks.jsonl import Jsonl

            return Jsonl(name, **_of_their_types(Jsonl, options))
    except TypeError as error:
        raise ConfigError(f"task {name!r} does not take these options: {error}") from error
    raise ConfigError(
        f"no task is called {name!r}; use 'countdown', 'rg:<data set of reasoning-gym>' or the path of a .jsonl file"
    )


_KINDS: dict[Any, tuple[str, tuple[type, ...]]] = {
    int: ("a whole number", (int,)),
    float: ("a finite number", (int, float)),
    str: ("text", (str,)),
    bool: ("true or false", (bool,)),
}


def _of_their_types(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """The options, each of the type that the task's own signature names."""
    hints = get_type_hints(kind.__init__)  # type: ignore[misc]
    for key, value in options.items():
        if (wanted := _KINDS.get(hints.get(key))) is None:
            continue
        said, kinds = wanted
        wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        if wrong or (isinstance(value, float) and not math.isfinite(value)):
            raise ConfigError(f"{key} must be {said}, got {value!r}")
    return options
