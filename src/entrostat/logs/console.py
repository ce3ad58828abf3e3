"""Lines of text as rows: JSON lines, and what the frameworks print. One pass, one line at a time.

| line | as printed by |
| --- | --- |
| `{"step": 1, ...}` | JSON lines; verl's file logger nests the values under `data` |
| `{'loss': 0.1, ...}`, also after a `step 7: ` | TRL and ms-swift; slime and miles |
| `step:1 - actor/entropy:0.3 - ...` | verl |
| `│ optim/entropy │ 0.31 │` | Tinker's rich tables, AReaL's |
| `Step 3 \\| Loss: 0.1 \\| Entropy: 0.3`, `loss: 0.1, token_entropy: 0.3`, `• Avg Reward: 0.5` | prime-rl, loggers, NeMo-RL |

A row without a step takes the last one that was printed before it: in a progress bar, a title or a sentence.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from entrostat.logs.names import role_of

Row = dict[str, Any]

STEP = "step (printed before the row)"
"""Key of a step that a row does not hold itself."""

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_VERL = re.compile(r"\bstep:(\d+) - (.*)")
_BAR = re.compile(r"\|\s*(\d+)/(\d+) \[")
_SPOKEN = re.compile(
    r"\b(?:step|iteration|iter|update|rollout|batch)[ _]?(?:batch|step|id)?\s*[:=#]?\s*(\d+)\b(?!\s*(?:[.%]\d|tokens|samples))",
    re.I,
)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)\b"
_PAIR = re.compile(
    r"['\"]?([A-Za-z][\w/@.\-]*(?: [A-Za-z][\w/@.\-]*){0,3})['\"]?\s*[:=]\s*['\"]?"
    rf"(?:np\.\w+\(|(?:torch\.)?tensor\(\[?)?({_NUMBER})",
    re.I,
)
_CALL = re.compile(rf"(?:np\.\w+|numpy\.\w+|(?:torch\.)?tensor)\(\[?({_NUMBER})\]?[^()]*\)", re.I)
_BARE = re.compile(r"(?<=[:\s\[,])(-?)(nan|inf)(?=\s*[,}\]])", re.I)
_CELLS = re.compile(r"[│┃|]")
_LONGEST = 1_000_000
"""Characters of a line that are looked at where it is not JSON."""


class Lines:
    """Reads lines; afterwards `objects`, `broken` and `escapes` say what there was.

    Attributes:
        objects: lines that were JSON objects. broken: (number, start) of lines that looked like one and were not.
        escapes: lines with terminal escapes, which are taken out.
    """

    def __init__(self) -> None:
        self.objects, self.escapes, self.lines = 0, 0, 0
        self.broken: list[tuple[int, str]] = []
        self._step: float | None = None
        self._pending: Row = {}

    def rows(self, lines: Iterable[str]) -> Iterator[Row]:
        """The rows of the lines, in order."""
        for line in lines:
            self.lines += 1
            text = line.strip()
            if not text:
                continue
            if text[0] == "{" and (row := self._json(text)) is not None:
                self.objects += 1
                yield from self._flush()
                yield row
                continue
            if "\x1b" in text:
                self.escapes += 1
                text = _ANSI.sub("", text).strip()
            yield from self._printed(text[:_LONGEST])
        yield from self._flush()

    def _json(self, text: str) -> Row | None:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            # A Python dictionary is tried later; what is cut or damaged is counted.
            if (text[-1] != "}" or '"' in text[:3]) and len(self.broken) < 1000:
                self.broken.append((self.lines, text[:60]))
            return None
        return row if isinstance(row, dict) else None

    def _printed(self, text: str) -> Iterator[Row]:
        if found := _VERL.search(text):
            yield from self._flush()
            self._step = float(found[1])
            yield {"step": float(found[1]), **_dashed(found[2])}
            return
        if bar := _BAR.search(text):
            yield from self._moved(float(bar[1]))
        opening = text.find("{")
        if opening >= 0 and text.endswith("}") and not _pairs(before := text[:opening]):
            row = _dictionary(text[opening:])
            if row is not None:
                if spoken := _SPOKEN.search(before):
                    yield from self._moved(float(spoken[1]))
                yield from self._flush()
                yield self._stepped(row)
                return
        if text[0] in "│┃|":
            yield from self._add(_cells(text))
            return
        if spoken := _SPOKEN.search(text):
            yield from self._moved(float(spoken[1]))
        if ":" in text or "=" in text:
            yield from self._add(_pairs(text))

    def _moved(self, step: float) -> Iterator[Row]:
        if step != self._step:
            yield from self._flush()
            self._step = step

    def _add(self, pairs: list[tuple[str, float]]) -> Iterator[Row]:
        """Values that may be part of a row of several lines: a key that comes again begins the next row."""
        if any(key in self._pending for key, _ in pairs):
            yield from self._flush()
        if pairs and not self._pending:
            self._pending = self._stepped({})
        self._pending.update(pairs)

    def _stepped(self, row: Row) -> Row:
        return row if self._step is None else {STEP: self._step, **row}

    def _flush(self) -> Iterator[Row]:
        if self._pending:
            yield self._pending
            self._pending = {}


def shown(text: str) -> str:
    """Text of a log or a model as text: control, bidirectional and zero-width characters by their code points."""
    return "".join(each if each.isprintable() or each == "\n" else f"\\u{ord(each):04x}" for each in text)


def _pairs(text: str) -> list[tuple[str, float]]:
    """`key: number` and `key=number` in a text, of the keys that mean something here; steps are found otherwise."""
    found = []
    for key, value in _PAIR.findall(text):
        role = role_of(key)
        if role is not None and role.name != "step":
            found.append((key, float(value)))
    return found


def _dashed(text: str) -> Row:
    row: Row = {}
    for part in text.split(" - "):
        key, colon, value = part.rpartition(":")
        if colon:
            with suppress(ValueError):
                row[key.strip()] = float(_CALL.sub(r"\1", value) if "(" in value else value)
    return row


def _dictionary(text: str) -> Row | None:
    """A Python dictionary as a logger prints it, with NumPy scalars, tensors and bare nan in it."""
    if ":" not in text:
        return None
    text = _CALL.sub(r"\1", text) if "(" in text else text
    text = _BARE.sub(r"'\1\2'", text)
    try:
        row = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    return {str(key): value for key, value in row.items()} if isinstance(row, dict) else None


def _cells(text: str) -> list[tuple[str, float]]:
    """Pairs of neighbors in a table's row of which the second is a number."""
    cells = [cell.strip() for cell in _CELLS.split(text)]
    cells = [cell for cell in cells if cell]
    pairs = zip(cells[::2], cells[1::2], strict=False)
    return [(key, float(value)) for key, value in pairs if re.fullmatch(_NUMBER, value, re.I)]
