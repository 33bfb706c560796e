"""Output on a terminal: names are the user's data, and must not control the terminal."""

import sys
import unicodedata

import pytest

from ssl_pipeline import progress, terminal
from ssl_pipeline.errors import PipelineError
from ssl_pipeline_stages.guarded import guarded

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\rb\x9b1m\u202e\u061cgnp.exe\udce9"
HARMLESS = r"a\x1b]0;owned\x07\x1b[2J\rb\x9b1m\u202e\u061cgnp.exe\udce9"


def test_what_controls_a_terminal_is_shown_as_an_escape() -> None:
    assert terminal.printable(HOSTILE) == HARMLESS


def test_these_are_the_letters_that_unicode_says_control_or_turn_something() -> None:
    turning = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    letters = map(chr, range(sys.maxunicode + 1))
    harmful = {one for one in letters if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp")} | turning
    assert {one for one in map(chr, range(sys.maxunicode + 1)) if terminal.printable(one, kept="") != one} == harmful


def test_other_text_stays() -> None:
    for text in ("two\nlines\tand a tab", "Größe, 日本, 👩\u200d🚀", "[red]no markup[/red]", ""):
        assert terminal.printable(text) == text


def test_what_is_said_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    progress.say(HOSTILE)
    assert capsys.readouterr().err == HARMLESS + "\n"


def test_errors_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise PipelineError(HOSTILE)

    assert guarded(fail) == 1
    assert capsys.readouterr().err == f"error: {HARMLESS}\n"


def test_numbers_agree_with_what_they_count() -> None:
    assert [terminal.counted(number, "file") for number in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]
    assert [terminal.counted(number, "copy is", "copies are") for number in (1, 2)] == ["1 copy is", "2 copies are"]
