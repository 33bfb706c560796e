"""Strangers' text on a terminal: names of files and classes and values of parameters may hold anything."""

import unicodedata

__all__ = ["brief", "counted", "printable", "shown"]

_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str, kept: str = "\n\t") -> str:
    """Return text that is safe on a terminal: what controls one, or turns the direction of writing, is escaped.

    Args:
        text: The text, of any length.
        kept: The control characters that stay.
    """
    return "".join(letter if letter in kept or _is_harmless(letter) else ascii(letter)[1:-1] for letter in text)


def shown(text: str, most: int) -> str:
    """Return text as a part of one line: escaped as by `printable`, and without its middle beyond `most` characters."""
    if len(text) > most:
        text = f"{text[: most * 2 // 3]} … {text[len(text) - most // 3 :]}"
    return printable(text, kept="")


def brief(reason: object, most: int = 160) -> str:
    """Return the first line of what another program said, to stand within a sentence of ours."""
    lines = [" ".join(line.split()) for line in str(reason).splitlines()]
    return shown(next((line for line in lines if line), type(reason).__name__).rstrip("."), most)


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number and what it counts: "1 file", "2,000 files"; `many` is the plural if it is not `one` and an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _is_harmless(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") and letter not in _DIRECTION_MARKS
