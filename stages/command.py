"""What all stage commands share: reading params.yaml, one run at a time, and how errors look to a person."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import click

from ssl_pipeline import guard
from ssl_pipeline.config import Config, load
from ssl_pipeline.disk import disk_trouble
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import remove_leftovers
from ssl_pipeline.terminal import printable, shown
from stages.paths import LOCK_FOLDER, products

__all__ = ["stage"]


def stage(run: Callable[[Config], None]) -> click.Command:
    """Make a click command of a function of the configuration.

    Only one stage runs in a folder at a time, and it ends with the dvc that started it. A `PipelineError` becomes one
    message and its exit status; Ctrl-C becomes exit status 130. Anything else is a bug, and keeps its traceback.
    """

    @click.command(name=run.__name__, help=run.__doc__)
    @click.option(
        "--params", default="params.yaml", type=click.Path(path_type=Path), show_default=True, help="The parameters."
    )
    @functools.wraps(run)
    def command(params: Path) -> None:
        guard.end_with_dvc()  # before the imports that take seconds
        sys.exit(guarded(lambda: alone(run, load(params))))

    return command


def alone(run: Callable[[Config], None], config: Config) -> None:
    """Run a stage while no other runs in this folder, rid of what killed ones left."""
    with guard.only_run(LOCK_FOLDER):
        remove_leftovers(products())
        run(config)


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
        click.echo(printable(str(interrupt)) or "interrupted; nothing was half-written", err=True)
        return 130
    return 0


def _tell(error: PipelineError) -> int:
    lines = str(error).split("\n")  # with strangers' text in them, of any length
    click.echo("error: " + "\n".join(shown(line, 2000) for line in lines), err=True)
    return error.exit_code
