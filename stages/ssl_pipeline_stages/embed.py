"""Embed any number of images with an exported backbone; not a stage."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssl_pipeline_stages.guarded import guarded
from ssl_pipeline_stages.paths import EXPORT
from ssl_pipeline_stages.provider import provider_option

if TYPE_CHECKING:
    from ssl_pipeline.deployment.execution import Provider
    from ssl_pipeline.embeddings.run import Shard

MODEL = EXPORT / "backbone.onnx"


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGES...")
@click.option(
    "--model",
    default=MODEL,
    type=click.Path(path_type=Path),
    show_default=True,
    help="File of the exported backbone.",
)
@click.option(
    "--out",
    default="embeddings.parquet",
    type=click.Path(path_type=Path),
    show_default=True,
    help="File to write: .parquet, or .npy with a .csv of the same name beside it.",
)
@click.option(
    "--energy", type=click.Path(path_type=Path), help="File energy.onnx of single images; adds a column `energy`."
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Embed the I-th of N parts of the images, counted from 1; the part that finishes last writes the file. "
    "Processes started by torchrun each take a part automatically.",
)
@click.option(
    "--fps",
    type=click.FloatRange(0, 1000, min_open=True),
    help="Frames per second to take from films; without this option, films are left out.",
)
@click.option("--max-megapixels", default=100.0, show_default=True, help="Images with more pixels are not decoded.")
@provider_option
def embed(
    images: tuple[Path, ...],
    model: Path,
    out: Path,
    energy: Path | None,
    shard: str | None,
    fps: float | None,
    max_megapixels: float,
    provider: "Provider",
) -> None:
    """Embed images from files, folders and .zip archives, in any mixture, and frames of films.

    Rows are in the order of the arguments and, within a folder or an archive, in the order of the names. Their columns
    are path, embedding, width, height and sha256, the hash of the pixels that ingest calls an image's id.

    Files that cannot be read are listed beside the output. To resume a run that was stopped, repeat the same command.
    Shards must share the folder of the output.
    """
    sys.exit(guarded(lambda: _embed(images, model, out, energy, shard, fps, max_megapixels, provider)))


def _embed(
    images: tuple[Path, ...],
    model: Path,
    out: Path,
    energy: Path | None,
    shard: str | None,
    fps: float | None,
    max_megapixels: float,
    provider: "Provider",
) -> None:
    from ssl_pipeline.embeddings.inputs import find_inputs
    from ssl_pipeline.embeddings.run import Job, begun_folder, embed_all
    from ssl_pipeline.embeddings.table import FORMS, companions
    from ssl_pipeline.errors import ConfigError
    from ssl_pipeline.progress import say
    from ssl_pipeline.runtime import Backbone
    from ssl_pipeline.terminal import shown

    if out.suffix not in FORMS:
        raise ConfigError(f"--out: {shown(str(out), 200)} must end with {' or '.join(FORMS)}.")
    if max_megapixels <= 0:
        raise ConfigError(f"--max-megapixels: {max_megapixels:g} must be more than 0.")
    mine = _shard(shard)
    backbone = Backbone(model, provider=provider, max_megapixels=max_megapixels)
    judge = None
    if energy is not None:
        judge = Backbone(energy, output="energy", provider=provider, max_megapixels=max_megapixels)
    if judge is not None and judge.images != backbone.images:
        raise ConfigError(
            f"--energy: {shown(str(energy), 200)} takes {judge.images}, but the model takes {backbone.images}. Name "
            "files of the same run."
        )
    inputs = find_inputs(images, [out, begun_folder(out), *companions(out)], fps)
    for warning in inputs.warnings:
        say(f"embed: {warning}")
    if not len(inputs) and not inputs.rejects:
        raise ConfigError(
            f"IMAGES: no images found in {shown(', '.join(map(str, images)), 200)}. Name files, folders or .zip "
            "archives of images."
        )
    click.echo(embed_all(Job(inputs, backbone, judge, out, max_megapixels), mine))


def _shard(text: str | None) -> "Shard":
    """Return the part of the images to embed, as the option or the launcher determines it.

    Raises:
        ConfigError: The option does not have the form I/N, or contradicts the launcher.
    """
    import re

    from ssl_pipeline import ranks
    from ssl_pipeline.embeddings.run import Shard
    from ssl_pipeline.errors import ConfigError
    from ssl_pipeline.terminal import shown

    if text is None:
        return Shard(ranks.number() + 1, ranks.count())
    if ranks.count() > 1:
        raise ConfigError("--shard: each process that torchrun starts takes its own part. Omit the option.")
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(f"--shard: {shown(text, 50)} must be I/N, with I from 1 to N, such as 2/8.")
    return Shard(int(found[1]), int(found[2]))
