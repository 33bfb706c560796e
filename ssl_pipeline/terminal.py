"""Safe output of untrusted text: names of files and classes, and values of parameters, may contain anything."""

import re

__all__ = ["brief", "counted", "printable", "shown"]

_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, surrogates, line and paragraph separators, and marks of writing direction in Unicode."""


def printable(text: str, kept: str = "\n\t") -> str:
    """Return text that is safe on a terminal: control characters and marks of writing direction are escaped.

    Args:
        text: Text of any length.
        kept: Control characters to keep.
    """
    return _HARMFUL.sub(lambda found: found[0] if found[0] in kept else ascii(found[0])[1:-1], text)


def shown(text: str, most: int) -> str:
    """Return text that fits in a line: escaped as by `printable`, with its middle cut out beyond `most` characters."""
    if len(text) > most:
        text = f"{text[: most * 2 // 3]} … {text[len(text) - most // 3 :]}"
    return printable(text, kept="")


def brief(reason: object, most: int = 160) -> str:
    """Return the first line of another program's message, for use within a sentence."""
    lines = [" ".join(line.split()) for line in str(reason).splitlines()]
    return shown(next((line for line in lines if line), type(reason).__name__).rstrip("."), most)


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun, such as "1 file" or "2,000 files"; `many` is the plural if it is irregular."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
