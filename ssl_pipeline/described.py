"""Descriptions from a factory's docstring: a summary line, and the meaning of each option."""

import inspect
import re
from typing import TYPE_CHECKING

from ssl_pipeline.terminal import shown

if TYPE_CHECKING:  # imports torch
    from ssl_pipeline.types import Factory

__all__ = ["does", "option_texts"]

MOST = 300
"""Maximum number of characters of a description."""


def does(factory: "Factory") -> str:
    """Return the first sentence of a factory's docstring, on one line; "" if there is no docstring."""
    paragraph = " ".join(_docstring(factory).partition("\n\n")[0].split())
    return shown(re.split(r"(?<=[.!?])\s+(?=[A-Z])", paragraph, maxsplit=1)[0], MOST)


def option_texts(factory: "Factory") -> dict[str, str]:
    """Return the descriptions of parameters, each on one line, from the section Args of a Google-style docstring."""
    texts: dict[str, list[str]] = {}
    for docstring in (_docstring(factory), _docstring(getattr(factory, "__init__", None))):
        _, found, section = docstring.partition("Args:\n")
        for line in section.splitlines() if found else ():
            if line and not line.startswith(" "):
                break  # the next section
            begins = re.match(r" {4}\*{0,2}(\w+)(?: \([^)]*\))?: *(.*)", line)
            if begins:
                texts[begins[1]] = [begins[2]]
            elif texts and line.strip():
                list(texts.values())[-1].append(line.strip())
    return {name: shown(" ".join(lines), MOST) for name, lines in texts.items()}


def _docstring(thing: object) -> str:
    """Return an object's own docstring, never the one of its class."""
    text = getattr(thing, "__doc__", None)
    return inspect.cleandoc(text) if isinstance(text, str) and text is not type(thing).__doc__ else ""
