"""A fraction of the initial entropy in words, and what other words were probably meant to say."""

from __future__ import annotations

import difflib
import re

from entrostat.errors import ConfigError

_FRACTION = re.compile(r"(?:([0-9.eE+-]+)\s*\*\s*)?initial")
_NUMBER = r"(\d+(?:[.,]\d*)?|[.,]\d+)"
_OF = r"\s*(?:\*|x|of)?\s*(?:the\s+)?"
_ORDERS = (
    re.compile(rf"{_NUMBER}\s*(%?){_OF}([a-z_]+)"),  # 0.75 * inital, 75% of the start
    re.compile(rf"(?:([a-z_]+)\s*\*?\s*){_NUMBER}\s*(%?)"),  # initial * 0.75, and initial(0.75) without its brackets
)
_ALIKE = ("initial", "initial_entropy", "start", "beginning", "baseline")
_NEAR = 0.7  # of difflib's likeness: "inital" and "intial" are 0.92, "init" is 0.73, "final" 0.67


def fraction_in(text: str) -> float | None:
    """Of the initial entropy, as "initial" and "0.75 * initial" say it; None where the text speaks of no initial entropy.

    Raises:
        ConfigError: it does, but in other words.
    """
    if "initial" not in text:
        return None
    match = _FRACTION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"write 'initial', or a fraction of it as '0.5 * initial'; got {text!r}{suggestion(text)}")
    try:
        return float(match[1] or 1)
    except ValueError as error:
        raise ConfigError(f"{match[1]!r} in {text!r} is not a number") from error


def suggestion(text: object) -> str:
    """`: write "0.75 * initial"` for "75%", and nothing where no such words are near."""
    words = _meant(" ".join(re.sub(r"[()]", " ", text.lower()).split())) if isinstance(text, str) else None
    return f": write {words}" if words else ""


def _meant(text: str) -> str | None:
    if re.fullmatch(_NUMBER + r"(?:\s*nats?(?: per token)?)?", text):
        return f"the number {_decimal(text.split('n')[0].strip())} without quotes"
    if found := re.fullmatch(_NUMBER + r"\s*%", text):
        return _written(found[1], "%")
    if found := _ORDERS[0].fullmatch(text):
        number, percent, word = found.groups()
    elif found := _ORDERS[1].fullmatch(text):
        word, number, percent = found.groups()
    else:
        return '"initial"' if re.fullmatch("[a-z_ ]+", text) and _is_initial(text) else None
    return _written(number, percent) if _is_initial(word) else None


def _written(number: str, percent: str) -> str:
    return f'"{float(_decimal(number)) / (100 if percent else 1):.6g} * initial"'


def _decimal(number: str) -> str:
    return number.replace(",", ".")


def _is_initial(word: str) -> bool:
    return bool(difflib.get_close_matches(word.replace(" ", "_"), _ALIKE, n=1, cutoff=_NEAR))
