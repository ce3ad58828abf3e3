"""What a model wrote is shown, never obeyed."""

from __future__ import annotations

import unicodedata

import pytest
from report.report_case import HOSTILE

from entrostat.report.visible import one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, naïve, 漢字, 😀", "plain, naïve, 漢字, 😀"),
        ("a\nb\tc", "a\nb\tc"),
        ("\x1b[31m", "⟨ESC⟩[31m"),
        ("\x00\x7f\x9b", "⟨NUL⟩⟨U+007F⟩⟨U+009B⟩"),
        ("\u202eabc\u2066", "⟨U+202E⟩abc⟨U+2066⟩"),
        ("\u200b\ufeff\u00ad", "⟨U+200B⟩⟨U+FEFF⟩⟨U+00AD⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\u2028", "⟨U+2028⟩"),
        ("\u3164\U000e0041", "⟨U+3164⟩⟨U+E0041⟩"),
        ("<script>", "<script>"),
    ],
)
def test_placeholders(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_nothing_hidden_is_left() -> None:
    everything = visible("".join(map(chr, range(0x110000))))
    for character in set(everything) - set("\n\t"):
        assert unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"), hex(ord(character))


def test_marks_do_not_pile_up() -> None:
    shown = visible("z" + "\u0301" * 50)
    assert shown.count("\u0301") == 3 and shown.count("⟨U+0301⟩") == 47


def test_a_megabyte_is_cut_and_said_so() -> None:
    assert visible("x" * 1_000_000, 10) == "x" * 10 + " … 999,990 more characters"


def test_one_line() -> None:
    for text in HOSTILE:
        assert "\n" not in one_line(text + "\nmore") and "⟨LF⟩" in one_line(text + "\nmore")
