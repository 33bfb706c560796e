"""Errors that the user can fix. Stages show them as one message without a traceback.

A bug in this project raises any other exception and keeps its traceback.
"""

__all__ = ["ChangedError", "ConfigError", "LostRankError", "PipelineError"]


class PipelineError(Exception):
    """Mistake in the data or the run; the message says what is wrong, where, and what to do."""

    exit_code = 1


class ConfigError(PipelineError):
    """Mistake in params.yaml, or in a plugin that it names; the message names the key."""

    exit_code = 2


class ChangedError(PipelineError):
    """Change of files while they were being read."""


class LostRankError(PipelineError):
    """End of another rank that works on the same task; the error of that rank is the one to report."""
