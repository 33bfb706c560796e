"""energy.onnx: the graph from pairs of images, or from single images, to energies."""

from collections.abc import Sequence
from pathlib import Path

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.deployment.bounds import ENERGY
from ssl_pipeline.deployment.from_pixels import Energies, FromPixels
from ssl_pipeline.deployment.image_graph import convention, graph_metadata, write_image_graph
from ssl_pipeline.deployment.proof import Proof, in_torch, prove
from ssl_pipeline.types import Encoder, EnergyHead, ImageEnergyHead

__all__ = ["export_energy", "prove_energy"]

_MAX_PROVED_PAIRS = 16  # of originals; the encoder itself is proved on all of them


def export_energy(
    encoder: Encoder, energy_head: EnergyHead | ImageEnergyHead, card: ModelCard, path: Path, *, opset: int
) -> None:
    """Write the graph from pairs of images to energies: `first`, `second` [N, H, W, C] -> `energy` float32 [N].

    Heights and widths of `first` and `second` may differ. An energy of single images takes `images` instead. The entry
    `energy` of the metadata names the energy.

    Args:
        encoder: Trained encoder, (N, C, S, S) in [0, 1] -> (N, D), exported in eval mode.
        energy_head: Energy of pairs of its embeddings, or of images.
        card: Description of the encoder.
        path: Path of the file to write.
        opset: ONNX operator set, 18 to 23.

    Raises:
        PipelineError: The graph exceeds 2 GB.
    """
    if isinstance(energy_head, ImageEnergyHead):
        taken, low = f"images: {convention(card.images)}", "for images that are as images should be"
    else:
        taken = f"first, second: each {convention(card.images)}, which may differ between the two but for N"
        low = "where first and second are compatible"
    metadata = {
        **graph_metadata(card),
        "input": taken,
        "output": f"energy: float32 [N], low {low}",
        "energy": energy_head.name,
    }
    module = FromPixels(card, Energies(encoder, energy_head))
    write_image_graph(module, path, inputs=energy_head.inputs, output="energy", metadata=metadata, opset=opset)


def prove_energy(
    path: Path,
    encoder: Encoder,
    energy_head: EnergyHead | ImageEnergyHead,
    card: ModelCard,
    originals: Sequence[Pixels],
) -> Proof:
    """Compare energy.onnx with torch on originals, or on pairs of consecutive originals, each at its own shape.

    Args:
        path: Path of the file that `export_energy` wrote.
        encoder: Encoder that was exported.
        energy_head: Energy that was exported.
        card: Description of the encoder.
        originals: Images (H, W, C) of any shapes.

    Raises:
        PipelineError: The graph does not compute what torch computes.
    """
    proved = originals[:_MAX_PROVED_PAIRS]
    pairs = {
        f"original/{number}": (image[None], proved[number - 1][None])[: len(energy_head.inputs)]
        for number, image in enumerate(proved)
    }
    module = FromPixels(card, Energies(encoder, energy_head)).eval()
    return prove(path, in_torch(module), pairs, ENERGY, "try another export.opset or pretrain.backbone.")
