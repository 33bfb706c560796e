"""Present errors to the user: a message and an exit status for their mistakes, a traceback for our bugs."""

import time
from collections.abc import Callable

import click

from ssl_pipeline import ranks
from ssl_pipeline.disk import disk_trouble
from ssl_pipeline.errors import LostRankError, PipelineError
from ssl_pipeline.terminal import printable, shown

__all__ = ["guarded"]

_PATIENCE_SECONDS = 10.0
"""Time for which other ranks hold back an error. If all ranks fail alike, the first one reports it, and its end stops
the others before this time is over."""


def guarded(action: Callable[[], None]) -> int:
    """Run an action, report errors that the user can fix, and return the exit status."""
    try:
        action()
    except PipelineError as error:
        return _tell(error)
    except OSError as error:
        trouble = disk_trouble(error)
        if trouble is None:
            raise
        return _tell(trouble)
    except KeyboardInterrupt as interrupt:
        if ranks.leads():
            click.echo(printable(str(interrupt)) or "interrupted; nothing was half-written", err=True)
        return 130
    return 0


def _tell(error: PipelineError) -> int:
    if not ranks.leads():
        time.sleep(_PATIENCE_SECONDS)
    if isinstance(error, LostRankError):  # the lost rank, which may also be waiting, reports first
        time.sleep(2 * _PATIENCE_SECONDS)
    lines = str(error).split("\n")  # they may contain text from files, of any length
    which = "" if ranks.leads() else f"rank {ranks.number()}: "
    click.echo(f"{which}error: " + "\n".join(shown(line, 2000) for line in lines), err=True)
    return error.exit_code
