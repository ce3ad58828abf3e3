"""Text that a model wrote, made safe to look at: what would move, hide or color other text is shown by its name.

A completion may hold anything: terminal escapes, marks that turn the reading direction, characters of no width, half of a
surrogate pair. Whoever prints it, on a page or in a terminal, prints `visible(text)`.
"""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Of category Lo, Mn or So, but drawn as nothing.
_BLANK = frozenset("\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800\u034f\u180b\u180c\u180d\u180f")
_CONTROLS = (  # C0, by code
    *("NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI"),
    *("DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US"),
)
_MOST_MARKS = 3  # combining marks in a row: more climb over the lines above


def visible(text: str, limit: int | None = None) -> str:
    """The text with every character that does not show itself as a placeholder; newlines and tabs stay.

    Control characters become their names (`⟨ESC⟩`), others their code point (`⟨U+202E⟩`).

    Args:
        limit: characters of `text` that are looked at; how many were left out is said at the end.
    """
    cut = 0 if limit is None else max(len(text) - limit, 0)
    if cut:
        text = text[:limit]
    shown = []
    marks = 0
    for character in text:
        category = "" if " " <= character <= "~" else unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category in _HIDDEN and character not in "\n\t":
            shown.append(_placeholder(character))
        elif (
            character in _BLANK or marks > _MOST_MARKS or "\ufe00" <= character <= "\ufe0f" or character >= "\U000e0000"
        ):
            shown.append(f"⟨U+{ord(character):04X}⟩")
        else:
            shown.append(character)
    if cut:
        shown.append(f" … {cut:,} more characters")
    return "".join(shown)


def one_line(text: str, limit: int | None = None) -> str:
    """As `visible`, on one line: for names, paths and messages."""
    return visible(text, limit).replace("\n", "⟨LF⟩").replace("\t", "⟨TAB⟩")


def _placeholder(character: str) -> str:
    code = ord(character)
    return f"⟨{_CONTROLS[code]}⟩" if code < len(_CONTROLS) else f"⟨U+{code:04X}⟩"
