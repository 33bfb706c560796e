"""Errors that are the user's to mend: shown as one message, without a traceback, by the stages.

A bug in our own code raises anything else and keeps its traceback.
"""

__all__ = ["ConfigError", "PipelineError"]


class PipelineError(Exception):
    """Something about the data or the run is wrong; the message says what, where and what to do."""

    exit_code = 1


class ConfigError(PipelineError):
    """Something in params.yaml (or in a plugin it names) is wrong; the message names the key."""

    exit_code = 2


def brief(reason: object, limit: int = 160) -> str:
    """Return the first line of what another program said, short enough to stand within a sentence of ours."""
    lines = [" ".join(line.split()) for line in str(reason).splitlines()]
    first = next((line for line in lines if line), type(reason).__name__)
    return first.rstrip(".") if len(first) <= limit else f"{first[: limit - 1]}…"
