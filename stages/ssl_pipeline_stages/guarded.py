"""How errors look to a person: one message and an exit status, or, where they are ours, a traceback."""

import time
from collections.abc import Callable

import click

from ssl_pipeline import ranks
from ssl_pipeline.disk import disk_trouble
from ssl_pipeline.errors import LostRankError, PipelineError
from ssl_pipeline.terminal import printable, shown

__all__ = ["guarded"]

_PATIENCE_SECONDS = 10.0
"""What all ranks fail over is told by the first one, whose end ends the others before this time is over."""


def guarded(action: Callable[[], None]) -> int:
    """Run an action; return its exit status, having told the user what is theirs to mend."""
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
    if isinstance(error, LostRankError):  # the lost one, which may be patient as well, comes first
        time.sleep(2 * _PATIENCE_SECONDS)
    lines = str(error).split("\n")  # with strangers' text in them, of any length
    which = "" if ranks.leads() else f"rank {ranks.number()}: "
    click.echo(f"{which}error: " + "\n".join(shown(line, 2000) for line in lines), err=True)
    return error.exit_code
