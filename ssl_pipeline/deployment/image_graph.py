"""Common parts of all graphs from images: their inputs, and the metadata about the model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch.export import Dim

from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.deployment.fitting_graph import fit_before, fitted
from ssl_pipeline.deployment.from_pixels import FromPixels, OfBatches
from ssl_pipeline.deployment.onnx_file import traced, write_proto
from ssl_pipeline.terminal import counted

__all__ = ["convention", "graph_metadata", "image_metadata", "network_graph", "write_image_graph"]


def convention(spec: ImageSpec) -> str:
    """Return a description in words of the images that a graph takes."""
    array, bands = f"{spec.dtype} [N, H, W, {spec.channels}]", "RGB" if spec.is_rgb else counted(spec.channels, "band")
    filled = ""
    if spec.may_lack_pixels:
        unmeasured = ([f"{spec.nodata:g}"] if spec.nodata is not None else []) + ["NaN"] * (spec.dtype == "float32")
        filled = f", {' and '.join(unmeasured)} where nothing was measured (`background` takes its place)"
    if spec == RGB8:
        filled = ", upright (EXIF orientation applied), transparency composited on `background`"
    return f"{array}, {bands}, {spec.low:g} to {spec.high:g}{filled}; any N, H and W: the graph resizes and normalises"


def image_metadata(spec: ImageSpec) -> dict[str, str]:
    """Return a graph's metadata about the values of images, which `runtime.images_of` reads."""
    return {
        "channels": json.dumps(spec.channels),
        "dtype": spec.dtype,
        "scale": json.dumps([spec.low, spec.high]),
        "rgb": json.dumps(spec.rgb),
        "nodata": json.dumps(spec.nodata),
    }


def graph_metadata(card: ModelCard) -> dict[str, str]:
    """Return a graph's metadata about the model: text values as plain text, all others as JSON."""
    content: dict[str, Any] = {
        **card.model_dump(mode="json", include={"size", "resize", "background", "embedding_dim", "plugins"}),
        **card.model_dump(mode="json", include={"mean", "std"}),
        **card.model_dump(mode="json", include={"weights_sha256", "params_sha256", "backbone"}),
        "layer": card.layer or "last",
        "grayscale": card.grayscale,
        "recipe": card.recipe.model_dump(mode="json", exclude_none=True),
        "versions": versions(),
    }
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in content.items()}
    return {**texts, **image_metadata(card.images)}


def write_image_graph(
    module: FromPixels,
    path: Path,
    *,
    inputs: Sequence[str] = ("images",),
    output: str,
    metadata: Mapping[str, str],
    opset: int = 18,
) -> None:
    """Export a network as a graph from images of any number and shape.

    Args:
        module: Wrapped network, which is left in eval mode.
        path: Path of the file to write.
        inputs: Names of its batches of images, which share N but not H and W.
        output: Name of its output.
        metadata: Metadata of the file.
        opset: ONNX operator set, 18 to 23.

    Raises:
        PipelineError: The graph exceeds 2 GB.
    """
    model = network_graph(module, inputs, (output,), opset)
    for name in inputs:
        fit_before(model, name, module, alone=len(inputs) == 1)
    write_proto(model, path, metadata)


def network_graph(module: FromPixels, inputs: Sequence[str], outputs: Sequence[str], opset: int) -> onnx.ModelProto:
    """Return the graph of a network alone, to which `fit_before` then adds the resizing of images.

    Args:
        module: Wrapped network, which is left in eval mode.
        inputs: Names of its batches of images.
        outputs: Names of its outputs.
        opset: ONNX operator set, 18 to 23.
    """
    shape = (2, module.images.channels, module.size, module.size)
    return traced(
        OfBatches(module.network).eval(),
        tuple(torch.zeros(shape) for _ in inputs),  # the same tensor twice would become one input
        input_names=[fitted(name) for name in inputs],
        output_names=outputs,
        dynamic_shapes=(tuple({0: Dim("batch")} for _ in inputs),),
        opset=opset,
    )
