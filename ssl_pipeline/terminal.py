"""Strangers' text on a terminal: names of files and classes and values of parameters may hold anything."""

import re

__all__ = ["brief", "counted", "printable", "shown"]

_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Unicode's controls, surrogates, line and paragraph separators, and marks of the direction of writing."""


def printable(text: str, kept: str = "\n\t") -> str:
    """Return text that is safe on a terminal: what controls one, or turns the direction of writing, is escaped.

    Args:
        text: The text, of any length.
        kept: The control characters that stay.
    """
    return _HARMFUL.sub(lambda found: found[0] if found[0] in kept else ascii(found[0])[1:-1], text)


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
