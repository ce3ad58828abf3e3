"""Verifiable tasks: prompts with a checker.

| name | task |
| --- | --- |
| `countdown` | reach a target from given numbers in steps; needs nothing installed |
| `rg:<data set>` | any data set of reasoning-gym, such as `rg:chain_sum` |
| `<path>.jsonl` | a file of prompts and answers, checked as mathematics |

With `problems_per_prompt` above 1 a prompt of any of them holds several problems (`entrostat.tasks.together`).
"""

from __future__ import annotations

from typing import Any, get_type_hints

from entrostat.control.numbers import as_kind, whole
from entrostat.errors import ConfigError
from entrostat.tasks.base import Problem, Scored, Split, Task, score_all

__all__ = ["Problem", "Scored", "Split", "Task", "load_task", "score_all"]


def load_task(name: str, *, problems_per_prompt: int = 1, **options: Any) -> Task:
    """The task of that name; `options` are the task's own keyword arguments.

    Args:
        problems_per_prompt: so many problems share a prompt, and one completion answers them all.

    Raises:
        ConfigError: an unknown name or option.
    """
    count = whole("problems_per_prompt", problems_per_prompt, "a whole number, 1 or more")
    task = _load(name, options)
    if count == 1:
        return task
    from entrostat.tasks.together import Together

    return Together(task, count)


def _load(name: str, options: dict[str, Any]) -> Task:
    try:
        if name == "countdown":
            from entrostat.tasks.countdown import Countdown

            return Countdown(**_typed(Countdown, options))
        if name.startswith("rg:"):
            from entrostat.tasks.reasoning_gym import ReasoningGym

            return ReasoningGym(name.removeprefix("rg:"), **_typed(ReasoningGym, options))
        if name.endswith(".jsonl"):
            from entrostat.tasks.jsonl import Jsonl

            return Jsonl(name, **_typed(Jsonl, options))
    except TypeError as error:
        raise ConfigError(f"task {name!r} does not take these options: {error}") from error
    raise ConfigError(
        f"no task is called {name!r}; use 'countdown', 'rg:<data set of reasoning-gym>' or the path of a .jsonl file"
    )


def _typed(kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """The options, each of the type that the task's own signature names."""
    hints = get_type_hints(kind.__init__)  # type: ignore[misc]
    return {key: as_kind(key, value, hints.get(key)) for key, value in options.items()}
