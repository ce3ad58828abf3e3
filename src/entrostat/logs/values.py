"""Values in a text that was printed: a number, pairs of a name and a number, a dictionary, the cells of a table's row."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from entrostat.logs.names import role_of

_NUMBER = (
    r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?)\b"
)
_PAIR = re.compile(
    r"['\"]?([A-Za-z][\w/@.\-]*(?: [A-Za-z][\w/@.\-]*){0,3})['\"]?\s*[:=]\s*['\"]?"
    rf"(?:np\.\w+\(|(?:torch\.)?tensor\(\[?)?({_NUMBER})",
    re.I,
)
_SPACED = re.compile(rf"\s*([A-Za-z][\w/.\- ]*?)\s+({_NUMBER})(?:\s*%|\s+[a-z]\S*)?\s*", re.I)  # `Entropy 0.31`
_CALL = re.compile(rf"(?:np\.\w+|numpy\.\w+|(?:torch\.)?tensor)\(\[?({_NUMBER})\]?[^()]*\)", re.I)
_BARE = re.compile(r"(?<=[:\s\[,])(-?)(nan|inf)(?=\s*[,}\]])", re.I)
_CELLS = re.compile(r"[│┃|]")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_COMMON = frozenset({"output", "target", "u", "coef", "saturated", "integral"})
"""Metrics of a controller that are as often words of a sentence."""


def number_in(text: str) -> float | None:
    """The number that a text is: `0.3`, `1e-6`, `nan`, `1,024.5`, `53.1%` as a share, and of `5/100` the first; else None."""
    try:
        return float(text)
    except ValueError:
        pass
    if _THOUSANDS.fullmatch(text):
        return float(text.replace(",", ""))
    head, slash, tail = text.partition("/")
    if slash:
        return float(head) if head.strip().isdigit() and tail.strip().isdigit() else None
    share = number_in(text[:-1].strip()) if text.endswith("%") else None
    return None if share is None else share / 100


def pairs_in(text: str, category: str = "") -> list[tuple[str, float]]:
    """`key: number`, `key=number` and, between bars, `key number`, of the keys that mean something here; steps are found
    otherwise."""
    candidates = _PAIR.findall(text) if ":" in text or "=" in text else []
    if " | " in text:
        spaced = [_SPACED.fullmatch(part) for part in text.split("|") if ":" not in part and "=" not in part]
        candidates += [each.groups() for each in spaced if each is not None]
    found = []
    for key, value in candidates:
        name = category + key if category and role_of(category + key) else key
        role = role_of(name)
        number = number_in(value)
        if role is not None and role.name != "step" and number is not None:
            found.append((name, number))
    if any(role_of(key).name == "entropy" for key, _ in found):  # type: ignore[union-attr]
        return found
    return [(key, number) for key, number in found if key.lower() not in _COMMON]


def dashed_in(text: str) -> dict[str, Any]:
    """`key:number` between dashes, as verl prints a row."""
    row: dict[str, Any] = {}
    for part in text.split(" - "):
        key, colon, value = part.rpartition(":")
        if colon:
            number = number_in(_CALL.sub(r"\1", value) if "(" in value else value)
            if number is not None:
                row[key.strip()] = number
    return row


def dictionary_in(text: str) -> dict[str, Any] | None:
    """A mapping as JSON, or as Python prints it, with NumPy scalars, tensors and bare nan in it."""
    if ":" not in text:
        return None
    if '"' in text:
        try:
            row = json.loads(text)
            return row if isinstance(row, dict) else None
        except (ValueError, RecursionError):
            pass
    text = _CALL.sub(r"\1", text) if "(" in text else text
    text = _BARE.sub(r"'\1\2'", text)
    try:
        row = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    return {str(key): value for key, value in row.items()} if isinstance(row, dict) else None


def cells_in(text: str) -> list[tuple[str, float]]:
    """Pairs of neighbors in a table's row of which the first is a name and the second a number."""
    cells = [cell.strip() for cell in _CELLS.split(text)]
    cells = [cell for cell in cells if cell]
    pairs = [(key, number_in(value)) for key, value in zip(cells[::2], cells[1::2], strict=False)]
    return [(key, value) for key, value in pairs if value is not None and any(each.isalpha() for each in key)]
