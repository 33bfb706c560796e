"""Evaluate a pretraining run in progress, without disturbing it; not a stage."""

import os
import sys
from pathlib import Path

import click

from ssl_pipeline_stages.guarded import guarded


@click.command()
@click.option(
    "--params", default="params.yaml", type=click.Path(path_type=Path), show_default=True, help="The parameters."
)
def watch(params: Path) -> None:
    """Evaluate the newest checkpoint by nearest neighbours on validation images, and by measures without labels."""
    if hasattr(os, "nice"):
        os.nice(10)  # the training has priority
    sys.exit(guarded(lambda: _watch(params)))


def _watch(params: Path) -> None:
    from ssl_pipeline.evaluation.unfinished import describe, latest
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline_stages import paths
    from ssl_pipeline_stages.params import load_params

    settings = load_params(params).linear_eval.knn
    glance = latest(load_registry(), paths.work(), paths.PRETRAIN, paths.REPORTS / "pretrain" / "details.json")
    for line in describe(glance, paths.STORE, settings):
        click.echo(line)
