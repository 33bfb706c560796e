"""The second process of the parity proof of export and finetune; not a stage."""

import sys
from pathlib import Path

import click

from ssl_pipeline.guard import end_with_dvc
from ssl_pipeline_stages.guarded import guarded

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def command(folder: Path) -> list[str]:
    """Return the command that `parity.verify` starts to rebuild the model in a folder."""
    return [sys.executable, "-m", "ssl_pipeline", "reference", str(folder)]


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("inputs", type=FILE)
@click.argument("outputs", type=FILE)
@click.option("--layer", required=True, help="Layer whose embeddings to write: last, or a number from 1.")
@click.option("--l2-normalize/--no-l2-normalize", required=True, help="Whether to scale embeddings to unit length.")
@click.option("--map", "maps", type=int, multiple=True, help="Number from 1 of a layer whose map to write as well.")
@click.option("--texts", is_flag=True, help="INPUTS contains tokens of texts instead of images.")
def reference(
    folder: Path, inputs: Path, outputs: Path, layer: str, l2_normalize: bool, maps: tuple[int, ...], texts: bool
) -> None:
    """Rebuild the torch model in FOLDER, and write its outputs for the batches in INPUTS (.npz) to OUTPUTS (.npz)."""

    def run() -> None:
        end_with_dvc()
        from ssl_pipeline.deployment.rebuilt import answer, answer_texts
        from ssl_pipeline.deployment.runtime import layer_of
        from ssl_pipeline.loading import load_registry

        if texts:
            answer_texts(load_registry(), folder, inputs, outputs, l2_normalize=l2_normalize)
            return
        answer(load_registry(), folder, inputs, outputs, layer=layer_of(layer), l2_normalize=l2_normalize, maps=maps)

    sys.exit(guarded(run))
