"""Errors that are the user's to mend: shown as one message, without a traceback, by the stages.

A bug in our own code raises anything else and keeps its traceback.
"""

__all__ = ["ChangedError", "ConfigError", "LostRankError", "PipelineError"]


class PipelineError(Exception):
    """Something about the data or the run is wrong; the message says what, where and what to do."""

    exit_code = 1


class ConfigError(PipelineError):
    """Something in params.yaml (or in a plugin it names) is wrong; the message names the key."""

    exit_code = 2


class ChangedError(PipelineError):
    """Files changed while they were read."""


class LostRankError(PipelineError):
    """Another of the processes that work together has ended: its error is the one to be told."""
