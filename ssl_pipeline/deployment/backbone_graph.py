"""backbone.onnx: from pixels to embeddings."""

import json
from pathlib import Path

from torch import nn

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from ssl_pipeline.deployment.image_graph import convention, graph_metadata, write_image_graph

__all__ = ["export_backbone"]


def export_backbone(encoder: nn.Module, card: ModelCard, path: Path, *, l2_normalize: bool, opset: int) -> None:
    """Write the graph from pixels to embedding: `images` [N, H, W, C] -> `embedding` float32 [N, D].

    Args:
        encoder: The trained encoder, (N, C, S, S) in [0, 1] -> (N, D); exported in eval mode.
        card: The description of the encoder.
        path: The path of the file to write.
        l2_normalize: Whether embeddings get unit length.
        opset: The ONNX operator set, 18 to 23.

    Raises:
        PipelineError: The graph exceeds 2 GB.
    """
    length = "of unit length" if l2_normalize else "as the backbone returns it, not normalised"
    metadata = {
        **graph_metadata(card),
        "input": f"images: {convention(card.images)}",
        "output": f"embedding: float32 [N, {card.embedding_dim}], {length}",
        "l2_normalized": json.dumps(l2_normalize),
    }
    module = FromPixels(card, embedding(encoder, l2_normalize))
    write_image_graph(module, path, output="embedding", metadata=metadata, opset=opset)
