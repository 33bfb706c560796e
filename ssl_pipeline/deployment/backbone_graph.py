"""backbone.onnx: the graph from pixels to embeddings."""

import json
from pathlib import Path

from torch import nn

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.deployment.core_graph import Core, cut_core, write_core
from ssl_pipeline.deployment.fitting_graph import fit_before
from ssl_pipeline.deployment.from_pixels import FromPixels, WithNormalised, embedding
from ssl_pipeline.deployment.image_graph import convention, graph_metadata, network_graph, write_image_graph
from ssl_pipeline.deployment.onnx_file import write_proto
from ssl_pipeline.types import Encoder

__all__ = ["backbone_metadata", "export_backbone", "export_backbone_and_core"]


def export_backbone(encoder: nn.Module, card: ModelCard, path: Path, *, l2_normalize: bool, opset: int) -> None:
    """Write the graph from pixels to embedding: `images` [N, H, W, C] -> `embedding` float32 [N, D].

    Args:
        encoder: Trained encoder, (N, C, S, S) in [0, 1] -> (N, D), exported in eval mode.
        card: Description of the encoder.
        path: Path of the file to write.
        l2_normalize: Whether embeddings are scaled to unit length.
        opset: ONNX operator set, 18 to 23.

    Raises:
        PipelineError: The graph exceeds 2 GB.
    """
    module = FromPixels(card, embedding(encoder, l2_normalize))
    write_image_graph(module, path, output="embedding", metadata=backbone_metadata(card, l2_normalize), opset=opset)


def export_backbone_and_core(
    encoder: Encoder, card: ModelCard, path: Path, core: Core, *, l2_normalize: bool, opset: int
) -> None:
    """Write the graph from pixels, and the part after resizing and normalising as a separate file.

    Args:
        encoder: Trained encoder, exported in eval mode.
        card: Description of the encoder.
        path: Path of the graph from pixels.
        core: Path of the separate file, and the number of images that it takes.
        l2_normalize: Whether embeddings are scaled to unit length.
        opset: ONNX operator set, 18 to 23.

    Raises:
        PipelineError: A graph exceeds 2 GB.
    """
    module, metadata = FromPixels(card, WithNormalised(encoder, l2_normalize)), backbone_metadata(card, l2_normalize)
    model = network_graph(module, ["images"], ["embedding", "normalised"], opset)
    write_core(cut_core(model), core, encoder, metadata)
    fit_before(model, "images", module, alone=True)
    write_proto(model, path, metadata)


def backbone_metadata(card: ModelCard, l2_normalize: bool) -> dict[str, str]:
    """Return the metadata of a graph from images to embeddings."""
    length = "of unit length" if l2_normalize else "as the backbone returns it, not normalised"
    return {
        **graph_metadata(card),
        "input": f"images: {convention(card.images)}",
        "output": f"embedding: float32 [N, {card.embedding_dim}], {length}",
        "l2_normalized": json.dumps(l2_normalize),
        "variant": "fp32",
    }
