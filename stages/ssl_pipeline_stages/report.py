"""Write one page about a run, reports/index.html, or open it."""

from typing import Any

import click

from ssl_pipeline.config import Config
from ssl_pipeline_stages import paths
from ssl_pipeline_stages.command import stage
from ssl_pipeline_stages.guarded import guarded


def _open_page(context: click.Context, _parameter: click.Parameter, wanted: Any) -> None:
    if wanted:
        context.exit(guarded(_open))


def _open() -> None:
    import webbrowser

    from ssl_pipeline.products import require

    page = require(paths.PAGE, "report").resolve()
    there = webbrowser.open(page.as_uri())
    click.echo(f"{page}" if there else f"No browser could be started. Open {page} in a browser.")


@click.option(
    "--open",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_open_page,
    help="Open the existing page in the browser instead of writing it.",
)
@stage
def report(config: Config) -> None:
    """Write one page with all results: verdict, data, curves, and a map of the embeddings."""
    import os

    from ssl_pipeline.page.facts import Places
    from ssl_pipeline.page.page import write_page
    from ssl_pipeline.progress import say

    places = Places(
        ingested=paths.INGESTED,
        augmented=paths.AUGMENTED,
        reports=paths.REPORTS,
        card=paths.PRETRAIN / "model.json",
        backbone=paths.EXPORT / "backbone.onnx",
        models=(paths.EXPORT, paths.LINEAR_EVAL, paths.FINETUNE),
    )
    source = config.ingest.source
    path = str(source.options.get("path", "")) if source.name == "folder" else "/"
    title = os.path.basename(os.path.abspath(path)) or source.name  # the path may be "." or "/"
    written = write_page(title, places, config, paths.PAGE)
    say(
        f"report: {paths.PAGE}, {written.size / 1e6:.1f} MB, with {written.mapped:,} of {written.images:,} images on "
        "the map; `ssl-pipeline report --open` opens it"
    )
