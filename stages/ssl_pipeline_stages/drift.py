"""Test whether images still resemble those that a bundle's model was made for; not a stage."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssl_pipeline_stages.guarded import guarded
from ssl_pipeline_stages.paths import BUNDLE
from ssl_pipeline_stages.provider import provider_option

if TYPE_CHECKING:
    from ssl_pipeline.deployment.execution import Provider
    from ssl_pipeline.embeddings.drift import Verdict
    from ssl_pipeline.embeddings.drift_images import Batch

DRIFT = 3
"""Exit status if there is drift."""
_LISTED = 5


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGES...")
@click.option("--bundle", default=BUNDLE, type=click.Path(path_type=Path), show_default=True, help="The bundle.")
@click.option(
    "--rate",
    default=0.01,
    type=click.FloatRange(0.001, 0.5),
    show_default=True,
    help="Rate of false alarms on images of the same kind.",
)
@click.option(
    "--csv",
    "listed",
    type=click.Path(path_type=Path),
    help="CSV file that lists all images, the largest contributors to drift first.",
)
@provider_option
def drift(images: tuple[Path, ...], bundle: Path, rate: float, listed: Path | None, provider: "Provider") -> None:
    """Test whether IMAGES still come from the distribution of a bundle's validation images.

    IMAGES are files, folders and .zip archives: a batch of at least 10 different images, better 50 or more, no two of
    which belong to one group. The exit status is 0 if there is no drift, 3 if there is, and 1 or 2 if the question
    cannot be answered.
    """
    found: list[Verdict] = []
    status = guarded(lambda: found.append(_drift(images, bundle, rate, listed, provider)))
    sys.exit(status or (DRIFT if found[0].alarm else 0))


def _drift(images: tuple[Path, ...], bundle: Path, rate: float, listed: Path | None, provider: "Provider") -> "Verdict":
    from ssl_pipeline.embeddings.drift import judge
    from ssl_pipeline.embeddings.drift_images import embed_batch, reference_for
    from ssl_pipeline.embeddings.inputs import find_inputs
    from ssl_pipeline.errors import ConfigError, PipelineError
    from ssl_pipeline.progress import say
    from ssl_pipeline.ranks import available_cores
    from ssl_pipeline.runtime import Backbone
    from ssl_pipeline.terminal import counted, shown

    backbone = Backbone(bundle / "backbone.onnx", provider=provider)
    reference = reference_for(bundle, backbone)
    inputs = find_inputs(images, [listed] if listed else [])
    for warning in inputs.warnings:
        say(f"drift: {warning}")
    batch = embed_batch(inputs, backbone, reference.about, available_cores())
    if batch.rejected:
        path, reason = batch.rejected[0]
        example = f"{shown(path, 200)} ({shown(reason, 300)})"
        say(f"drift: left out {counted(len(batch.rejected), 'unusable file')}, such as {example}.")
    if batch.copies:
        say(f"drift: left out {counted(batch.copies, 'exact copy', 'exact copies')}: each image counts once.")
    if not batch.paths:
        which = shown(", ".join(map(str, images)), 200)
        raise ConfigError(f"IMAGES: no usable image in {which}. Name files, folders or .zip archives of images.")
    try:
        verdict = judge(reference, batch.embeddings, rate)
    except PipelineError as error:
        raise PipelineError(f"drift: {error}") from error
    order = verdict.drives.argsort()[::-1]
    if listed:
        _write(listed, batch, verdict)
    click.echo(
        f"{'DRIFT' if verdict.alarm else 'no drift'}: score {verdict.score:.2f} (threshold 1, for a rate of false "
        f"alarms of {rate:g}), p = {verdict.p_value:.3f}, {counted(verdict.compared, 'image')} against "
        f"{len(reference.rows):,} validation images, one per group."
    )
    if not reference.resembles_training:
        say(
            "drift: the validation images differ from the training images, so images like the training images may "
            "raise an alarm."
        )
    if verdict.alarm:
        click.echo("These images contribute most to the drift:")
        for place in order[:_LISTED]:
            click.echo(
                f"  {shown(batch.paths[place], 300)} (farther from the validation images than "
                f"{100 * verdict.rarer_than[place]:.0f}% of these are from each other)"
            )
    return verdict


def _write(path: Path, batch: "Batch", verdict: "Verdict") -> None:
    from ssl_pipeline.data.tables import harmless, write_table

    order = verdict.drives.argsort()[::-1]
    rows = (
        (harmless(batch.paths[place], path=True), f"{verdict.drives[place]:.4f}", f"{verdict.rarer_than[place]:.4f}")
        for place in order
    )
    write_table(path, ("path", "drives", "rarer_than"), rows)
