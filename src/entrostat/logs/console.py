"""Lines of text as rows: JSON lines, and what the frameworks print. One pass, one line at a time.

| line | as printed by |
| --- | --- |
| `{"step": 1, ...}` | JSON lines; verl's file logger nests the values under `data` |
| `{'loss': 0.1, ...}`, also after a `step 7: ` or over several lines | TRL, ms-swift, OpenRLHF; slime, miles, ROLL; SkyRL |
| `step:1 - actor/entropy:0.3 - ...` | verl |
| `│ optim/entropy │ 0.31 │`, `│ policy entropy_avg: 0.31 │` | Tinker's rich tables, AReaL's; open-instruct's panels |
| `Step 3 \\| Loss: 0.1 \\| Entropy 0.3`, `loss: 0.1, token_entropy: 0.3`, `• Avg Reward: 0.5` | prime-rl, loggers, NeMo-RL |
| `step  reward  entropy`, and numbers under it, parted by tabs or bars | notebooks, Markdown |

A row without a step takes the last one that was printed before it: in a progress bar, a title or a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Iterator
from typing import Any

from entrostat.logs.names import role_of
from entrostat.logs.values import cells_in, dashed_in, dictionary_in, number_in, pairs_in

Row = dict[str, Any]

STEP = "step (printed before the row)"
"""Key of a step that a row does not hold itself."""

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_RAY = re.compile(r"^\([\w.:\- ]*pid=\d+[^)]*\)\s*")
_VERL = re.compile(r"\bstep:(\d+) - (.*)")
_BAR = re.compile(r"([^|]{0,60}?)\d+%\|[^|]*\|\s*(\d+)/(\d+) \[[^\]]*\]?")
_TRAINING_BAR = re.compile(r"^\W*$|train|step|iter|progress|episode|grpo|ppo|epoch", re.I)
_OTHER_BAR = re.compile(r"epoch|eval|valid|\btest", re.I)  # those of an epoch begin again in each
_MICRO = re.compile(r"\b(?:micro|mini)[ _-]?(?:step|batch)\W{0,3}\d", re.I)
_EPOCH = re.compile(
    r"\bepoch\W{0,3}(\d+)(?:/\d+)?\W+(?:step|batch|iter|iteration)\W{0,3}(\d+)/(\d+)", re.I
)  # a step within its epoch
_OVERALL = re.compile(r"(?:train|training|global|optimizer|total)[ _]step\W{0,3}(\d+)\b(?![.%])", re.I)
_SPOKEN = re.compile(
    r"\b(?:(step|iteration|iter|update)|rollout|batch)[ _]?(?:batch|step|id)?\s*[:=#]?\s*\[?(\d+)\b(/\d)?"
    r"(?!\s*(?:%|\.\d|tokens|samples))",
    re.I,
)
_PROSE = re.compile(r"\bstep \d+\W{0,3}[:.)]\W+[a-z]", re.I)  # `Step 2: add them`, as models write it
_PANEL = re.compile(r"[│┃]\s*(?:([a-z]\w*)\s+)?(\S.*)")
_LONGEST = 1_000_000
"""Characters of a line that are looked at where it is not JSON."""
_MOST_LINES = 500
"""Lines of one dictionary."""


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
        self._whole: set[str] = (
            set()
        )  # quantities of rows that hold the entropy: others' of the same name are not the step's
        self._open: list[str] = []  # a dictionary of several lines
        self._heading: list[str] = []
        self._boxed, self._category = False, ""
        self._total, self._aside = 0, (0, 0)  # of the training's progress bar; step and total of a shorter one
        self._first_epoch: int | None = None
        self._rows_of_steps = False

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
            if "pid=" in text[:80]:
                text = _RAY.sub("", text)
            if text:
                yield from self._printed(text[:_LONGEST])
        yield from self._closed()
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
            yield {"step": float(found[1]), **dashed_in(found[2])}
            return
        if self._open or text == "{" or (text[-1] == "," and text[:2] in ("{'", '{"')):
            yield from self._of_several_lines(text)
            return
        if _MICRO.search(text):
            return
        if "%|" in text:
            for bar in _BAR.finditer(text):
                yield from self._bar(bar)
            # Postfixes of a training's bar are metrics; a bar of prompts or shards says nothing.
            text = _BAR.sub(lambda bar: bar[0] if _TRAINING_BAR.search(bar[1]) else " ", text).strip()
            if not text:
                return
        opening = text.find("{")
        if opening >= 0 and text[-1] == "}" and not pairs_in(before := text[:opening]):
            row = dictionary_in(text[opening:])
            if row is not None:
                counted_apart = yield from self._said(before, of="row")
                yield from self._took(row, stepped=not counted_apart)
                return
        if text[0] in "╭┏┌╒╔╰└┗╘╚":
            self._boxed, self._category = text[0] in "╭┏┌╒╔", ""
            yield from self._flush()
            if self._boxed:
                yield from self._said(text, of="title")
            return
        if text[0] in "│┃|" and (pairs := cells_in(text)):
            yield from self._add(pairs)
            return
        if (text[0] == "|" or "\t" in text) and (row := self._under_a_heading(text)):
            yield from self._took(row)
            return
        pairs = self._panel(text) if text[0] in "│┃" else pairs_in(text)
        if pairs or not _PROSE.search(text):
            yield from self._said(text)
        yield from self._add(pairs)

    def _bar(self, bar: re.Match[str]) -> Iterator[Row]:
        """The training's progress is the step; an evaluation's bar, which is shorter, is put aside."""
        about, at, total = bar[1], int(bar[2]), int(bar[3])
        if not _TRAINING_BAR.search(about) or _OTHER_BAR.search(about):
            return
        if total < self._total:
            self._aside = (at, total)
            return
        self._total, self._aside = total, (0, 0)
        yield from self._moved(float(at))

    def _said(self, text: str, of: str = "") -> Generator[Row, None, bool]:
        """The step that a sentence or a panel names, the title of one, or what stands before a row in its line.

        Returns:
            Whether the number is of another count than the steps, so that a row beside it goes with the next step.
        """
        if found := _OVERALL.search(text):
            step = int(found[1])
        elif found := _EPOCH.search(text):
            epoch, at, each = map(int, found.groups())
            self._first_epoch = epoch if self._first_epoch is None else self._first_epoch
            step = (epoch - self._first_epoch) * each + at
        elif found := _SPOKEN.search(text):
            if not found[1] and of == "row" and self._rows_of_steps:
                return True  # rows of rollouts between rows of steps, as slime prints them
            if self._total and not of and not found[3]:
                return False  # beside a progress bar, `Step 2:` is a completion's
            self._rows_of_steps |= of == "row" and bool(found[1])
            step = int(found[2])
        else:
            return False
        if self._boxed and not of:
            self._step = float(step)
            if self._pending:
                self._pending[STEP] = self._step  # the panel's other lines are of this step, too
        else:
            yield from self._moved(float(step))
        return False

    def _moved(self, step: float) -> Iterator[Row]:
        if step != self._step:
            yield from self._flush()
            self._step = step

    def _took(self, row: Row, stepped: bool = True) -> Iterator[Row]:
        """A row that is whole."""
        names = {role.name for key in row if (role := role_of(key)) is not None}
        if "entropy" in names:
            self._whole |= names
        if self._aside[1] and not any(key.startswith("eval") for key in row):
            at, self._total = self._aside  # rows of training under a shorter bar: another run
            self._aside = (0, 0)
            self._step = float(at)
        yield from self._flush()
        yield self._stepped(row) if stepped else row

    def _of_several_lines(self, text: str) -> Iterator[Row]:
        if self._open and text[:2] in ("{'", '{"'):
            yield from self._closed()
        self._open.append(text)
        if text[-1] == "}":
            row = dictionary_in(" ".join(self._open))
            if row is not None:
                began = self.lines - len(self._open) + 1
                self.broken = [each for each in self.broken if each[0] < began]
                self._open.clear()
                yield from self._took(row)
                return
        if len(self._open) > _MOST_LINES or (text[0] not in "'\"{}[]" and text[-1] not in ",}]"):
            yield from self._closed()

    def _closed(self) -> Iterator[Row]:
        """Lines that began as a dictionary and were none."""
        lines, self._open = self._open, []
        for text in lines:
            yield from self._add(pairs_in(text))

    def _under_a_heading(self, text: str) -> Row:
        """The numbers of a table's line, by the names in its heading; empty for the heading itself."""
        cells = [cell.strip() for cell in (text.strip("|").split("|") if text[0] == "|" else text.split("\t"))]
        numbers = [number_in(cell) for cell in cells]
        count = sum(number is not None for number in numbers)
        if len(cells) == len(self._heading) and 2 * count >= len(cells):
            return {key: number for key, number in zip(self._heading, numbers, strict=True) if number is not None}
        roles = [role.name for cell in cells if (role := role_of(cell)) is not None]
        if not count and len(cells) > 1 and set(roles) - {"step"}:
            self._heading = cells
        return {}

    def _panel(self, text: str) -> list[tuple[str, float]]:
        """`│ policy   clipfrac_avg: 0.02 | entropy_avg: 0.31 │`: keys behind the word that they begin with."""
        found = _PANEL.match(text)
        if found is None:
            return []
        self._category = found[1] or self._category
        return pairs_in(found[2], f"{self._category}/")

    def _add(self, pairs: list[tuple[str, float]]) -> Iterator[Row]:
        """Values that may be part of a row of several lines: a key that comes again begins the next row."""
        if self._whole:
            pairs = [each for each in pairs if (role := role_of(each[0])) is None or role.name not in self._whole]
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
