"""Errors that are the user's to mend: shown as one message, without a traceback, by the stages.

A bug in our own code raises anything else and keeps its traceback.
"""

__all__ = ["ConfigError", "PipelineError", "shown"]


class PipelineError(Exception):
    """Something about the data or the run is wrong; the message says what, where and what to do."""

    exit_code = 1


class ConfigError(PipelineError):
    """Something in params.yaml (or in a plugin it names) is wrong; the message names the key."""

    exit_code = 2


def shown(text: str, most: int) -> str:
    """Text as a terminal can show it: control characters escaped, and its middle left out beyond `most` characters.

    A name or a value that somebody else wrote may hold escape sequences, or be a megabyte long.
    """
    if len(text) > most:
        text = f"{text[: most * 2 // 3]} … {text[len(text) - most // 3 :]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
