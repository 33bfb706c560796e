"""Find the images of a table of embeddings that are most similar to an image or a text; not a stage."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssl_pipeline_stages.guarded import guarded
from ssl_pipeline_stages.provider import provider_option

if TYPE_CHECKING:
    from ssl_pipeline.deployment.execution import Provider


@click.command()
@click.argument("query", required=False, type=click.Path(path_type=Path))
@click.option(
    "--text", help="Description to search for instead of QUERY; the model must have been trained with captions."
)
@click.option(
    "--index",
    default="embeddings.parquet",
    type=click.Path(path_type=Path),
    show_default=True,
    help="Table written by `ssl-pipeline embed`.",
)
@click.option("-k", "count", default=10, show_default=True, help="Number of images to find; the first 60 are drawn.")
@click.option(
    "--picture",
    default="neighbours.png",
    type=click.Path(path_type=Path),
    show_default=True,
    help="Picture to draw of the query and the images found.",
)
@click.option(
    "--model", type=click.Path(path_type=Path), help="Path of the backbone, if it differs from the one in the table."
)
@provider_option
def search(
    query: Path | None,
    text: str | None,
    index: Path,
    count: int,
    picture: Path,
    model: Path | None,
    provider: "Provider",
) -> None:
    """Find the images most similar to QUERY, an image file, by the cosine of their embeddings.

    With --text, find the images that a text describes; text.onnx and tokenizer.json must lie beside the backbone.
    """
    sys.exit(guarded(lambda: _search(query, text, index, count, picture, model, provider)))


def _search(
    query: Path | None,
    text: str | None,
    index: Path,
    count: int,
    picture: Path,
    model: Path | None,
    provider: "Provider",
) -> None:
    from ssl_pipeline.embeddings.search import (
        MOST_DRAWN,
        draw,
        embed_query,
        embed_text,
        model_of,
        search,
        text_tower_of,
    )
    from ssl_pipeline.embeddings.table import Index
    from ssl_pipeline.errors import ConfigError
    from ssl_pipeline.terminal import shown

    asked = query if text is None else text
    if asked is None or (query is not None and text is not None):
        raise ConfigError("Name either an image (QUERY) or a text (--text 'a red bicycle').")
    if count < 1:
        raise ConfigError(f"-k: {count} must be at least 1.")
    if picture.suffix.lower() != ".png":
        raise ConfigError(f"--picture: {shown(str(picture), 200)} must end with .png.")
    with Index(index) as opened:
        backbone = model_of(opened, model, provider)
        if isinstance(asked, str):
            embedding = embed_text(text_tower_of(backbone, provider), asked)
        else:
            embedding = embed_query(backbone, asked)
        matches = search(opened, embedding, count)
        click.echo("rank  similarity  path")
        for rank, match in enumerate(matches, 1):
            click.echo(f"{rank:4}  {match.similarity:10.4f}  {shown(match.path, 1000)}")
        if find_spec("matplotlib") is None:  # as in a container that only serves
            click.echo("No picture was drawn, because matplotlib is not installed: `pip install matplotlib`.", err=True)
            return
        draw(opened, backbone, asked, matches, picture)
    click.echo(f"{picture} shows {'them' if len(matches) <= MOST_DRAWN else f'the first {MOST_DRAWN}'}.")
