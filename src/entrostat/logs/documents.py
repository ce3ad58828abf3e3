"""The rows in a JSON document, wherever it keeps them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from entrostat.logs.names import role_of

_DEEPEST = 4


def rows_in(document: Any) -> dict[str, list[dict[str, Any]]]:
    """The rows of a document, by the label of their run; empty where there are none.

    It may be a list of rows, or a mapping that holds one (TRL's `log_history`), one per run, one column per key, or rows by
    step.
    """
    if isinstance(document, Mapping) and isinstance(document.get("log_history"), list):
        return {"": [row for row in document["log_history"] if isinstance(row, dict)]}
    found: list[tuple[int, int, str, list[dict[str, Any]]]] = []
    _collect(document, "", 0, found)
    if not found:
        return {}
    best = max(each[:2] for each in found)
    # Runs side by side hold the same quantities; a second list of fewer is something else.
    alike = [each for each in found if each[0] == best[0]]
    if len(alike) > 1 and best[0] > 1:
        return {label: rows for _, _, label, rows in alike}
    return {"": next(rows for score, count, _, rows in found if (score, count) == best)}


def outputs_of(notebook: Mapping[str, Any]) -> Iterator[str]:
    """The lines that the cells of a Jupyter notebook printed; of a table, such as TRL's and Unsloth's, cells parted by tabs."""
    for cell in notebook.get("cells") or ():
        for output in cell.get("outputs") or ():
            data = output.get("data") or {}
            text, table = output.get("text") or (), data.get("text/html") or ()
            yield from "".join(text).splitlines()
            html = re.sub(r"\s*\n\s*", "", "".join(table))
            for row in re.findall(r"<tr[^>]*>(.*?)</tr>", html):
                yield "\t".join(re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row))


def _collect(value: Any, label: str, depth: int, found: list[Any]) -> None:
    if depth > _DEEPEST:
        return
    rows = _rows(value)
    if rows:
        keys = {key for row in rows[:20] for key in _flat(row)}
        names = {role.name for key in keys if (role := role_of(key)) and role.name != "step"}
        if names:
            found.append((len(names), len(rows), label, rows))
            return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, Mapping | list):
                _collect(inner, str(key), depth + 1, found)


def _rows(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [row for row in value if isinstance(row, dict)]
    if not isinstance(value, Mapping):
        return []
    lists = {str(key): each for key, each in value.items() if isinstance(each, list) and _numeric(each)}
    if lists:
        # Lists of one length are columns of one table; of several tables, the one with the most quantities, the entropy first.
        alike = [
            {key: each for key, each in lists.items() if len(each) == size} for size in set(map(len, lists.values()))
        ]
        full = max(alike, key=_worth)
        if len(next(iter(full.values()))) > 1 and any(role_of(key) for key in full):
            return [dict(zip(full, each, strict=True)) for each in zip(*full.values(), strict=True)]
    if value and all(isinstance(each, dict) for each in value.values()) and all(str(key).isdigit() for key in value):
        return [{"step": int(key), **each} for key, each in value.items()]
    if any(isinstance(each, int | float) and role_of(str(key)) for key, each in value.items()):
        return [dict(value)]
    return []


def _worth(columns: Mapping[str, Sequence[Any]]) -> tuple[bool, int, int]:
    names = {role.name for key in columns if (role := role_of(key))}
    return "entropy" in names, len(names), len(next(iter(columns.values())))


def _numeric(values: Sequence[Any]) -> bool:
    return all(each is None or isinstance(each, int | float | str) for each in values[:50])


def _flat(row: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in row.items():
        if isinstance(value, Mapping) and prefix.count("/") < 3:
            found += _flat(value, f"{prefix}{key}/")
        else:
            found.append(f"{prefix}{key}")
    return found
