"""What the graphs from images have in common: their inputs, and what their metadata says about the model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim

from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.deployment.onnx_file import write_graph

__all__ = ["convention", "describe", "write_image_graph"]


def convention() -> str:
    """What images are to a graph, in words."""
    return (
        "uint8 [N, H, W, 3], RGB, 0 to 255, upright (EXIF orientation applied), transparency composited on "
        "`background`; any N, H and W: the graph resizes and normalises"
    )


def describe(card: ModelCard) -> dict[str, str]:
    """What a graph's metadata says about the model: plain text where a value is text, JSON where it is not."""
    content: dict[str, Any] = {
        **card.model_dump(mode="json", include={"size", "resize", "background", "embedding_dim", "plugins"}),
        **card.model_dump(mode="json", include={"weights_sha256", "params_sha256", "backbone"}),
        "layer": card.layer or "last",
        "grayscale": card.grayscale,
        "recipe": card.recipe.model_dump(mode="json", exclude_none=True),
        "versions": versions(),
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}


def write_image_graph(
    module: FromPixels,
    path: Path,
    *,
    inputs: Sequence[str] = ("images",),
    output: str,
    metadata: Mapping[str, str],
    opset: int = 18,
) -> None:
    """Export a network from images of any number and shape.

    Args:
        module: The network behind its wrapper; is left in eval mode.
        path: Where the file goes.
        inputs: The names of its batches of images, which share N, but not H and W.
        output: The name of its output.
        metadata: The metadata of the file.
        opset: The ONNX operator set, 18 to 23.

    Raises:
        PipelineError: The graph exceeds 2 GB.
    """
    batch, alone = Dim("batch"), len(inputs) == 1
    sides = [("height", "width") if alone else (f"{name}_height", f"{name}_width") for name in inputs]
    shapes = tuple({0: batch, 1: Dim(height), 2: Dim(width)} for height, width in sides)
    write_graph(
        module.eval(),
        tuple(_example(module.size) for _ in inputs),  # one tensor given twice would become one input
        path,
        input_names=inputs,
        output_names=[output],
        dynamic_shapes=(shapes,),
        opset=opset,
        metadata=metadata,
        images=inputs,
    )


def _example(size: int) -> torch.Tensor:
    """Images to trace with: two of them, neither square nor of the trained size."""
    return torch.zeros(2, size + 3, size + 5, 3, dtype=torch.uint8)
