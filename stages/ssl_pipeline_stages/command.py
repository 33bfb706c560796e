"""Shared behaviour of all stage commands: read params.yaml, and allow one run at a time."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import click

from ssl_pipeline import guard, ranks
from ssl_pipeline.config import Config
from ssl_pipeline.products import remove_leftovers
from ssl_pipeline_stages.guarded import guarded
from ssl_pipeline_stages.launch import SHARED, launch, wanted
from ssl_pipeline_stages.params import load_params
from ssl_pipeline_stages.paths import LOCK_FOLDER, PLUGINS_LOCK, products

__all__ = ["stage"]


def stage(run: Callable[[Config], None]) -> click.Command:
    """Turn a function of the configuration into a click command.

    Only one stage runs in a folder at a time, and it ends when the DVC process that started it ends. A `PipelineError`
    becomes a message and its exit status; Ctrl-C becomes exit status 130. Anything else is a bug and keeps its
    traceback.
    """

    @click.command(name=run.__name__, help=run.__doc__)
    @click.option(
        "--params", default="params.yaml", type=click.Path(path_type=Path), show_default=True, help="The parameters."
    )
    @functools.wraps(run)
    def command(params: Path) -> None:
        guard.end_with_dvc()  # before the imports that take seconds
        sys.exit(guarded(lambda: _begin(run, params)))

    return command


def _begin(run: Callable[[Config], None], params: Path) -> None:
    config = load_params(params)
    count = wanted(run.__name__, config)
    if count > 1:
        raise SystemExit(launch(run.__name__, params, count))
    alone(run, config)


def alone(run: Callable[[Config], None], config: Config) -> None:
    """Run a stage as the only one in this folder, after removing the leftovers of killed stages.

    Of the processes that `torchrun` starts, only the first does this. The others share the work of the stages in
    `SHARED`, and do nothing in other stages.
    """
    if not ranks.leads():
        if run.__name__ in SHARED:
            run(config)
        return
    with guard.only_run(LOCK_FOLDER):
        remove_leftovers(products(), [PLUGINS_LOCK])
        run(config)
