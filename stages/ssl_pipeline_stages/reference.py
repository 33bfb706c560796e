"""Not a stage of its own: the other process of export's and finetune's parity proof."""

import sys
from pathlib import Path

import click

from ssl_pipeline.guard import end_with_dvc
from ssl_pipeline_stages.guarded import guarded

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def command(folder: Path) -> list[str]:
    """Say what `parity.verify` starts to rebuild the model in a folder."""
    return [sys.executable, "-m", "ssl_pipeline", "reference", str(folder)]


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("inputs", type=FILE)
@click.argument("outputs", type=FILE)
@click.option("--layer", required=True, help="Whose embeddings are meant: last, or a layer's number from 1.")
@click.option("--l2-normalize/--no-l2-normalize", required=True, help="Whether embeddings get unit length.")
@click.option("--map", "maps", type=int, multiple=True, help="A layer's number from 1, whose map is meant besides.")
@click.option("--texts", is_flag=True, help="Whether INPUTS has tokens of texts in place of images.")
def reference(
    folder: Path, inputs: Path, outputs: Path, layer: str, l2_normalize: bool, maps: tuple[int, ...], texts: bool
) -> None:
    """Write what torch, rebuilt from FOLDER, makes of the batches of images in INPUTS (.npz) to OUTPUTS (.npz)."""

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
