"""backbone_maps.onnx: from pixels to embeddings and feature maps of the backbone's layers, for dense prediction.

It is a separate file, so that a product that needs only embeddings neither carries nor computes the maps.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.deployment.backbone_graph import backbone_metadata
from ssl_pipeline.deployment.fitting_graph import fit_before
from ssl_pipeline.deployment.from_pixels import FromPixels, WithMaps
from ssl_pipeline.deployment.image_graph import network_graph
from ssl_pipeline.deployment.onnx_file import write_proto
from ssl_pipeline.deployment.rebuilt import map_name
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.types import Encoder

__all__ = ["export_maps", "layers_of"]


def layers_of(outputs: Sequence[str], encoder: Encoder, card: ModelCard) -> list[int]:
    """Return the numbers of the layers, counted from 1, whose maps `export.outputs` requests, in order.

    Args:
        outputs: Entries of `export.outputs`: `embedding`, `maps` for the maps of all layers, `map_2` for that of one.
        encoder: Trained encoder.
        card: Description of the encoder.

    Raises:
        ConfigError: The backbone has no maps, or no such layer.
    """
    layers = range(1, len(encoder.backbone.map_channels) + 1)
    known = {map_name(layer): layer for layer in layers}
    asked = [name for name in outputs if name != "embedding"]
    if unknown := [name for name in asked if not known or name not in {"maps", *known}]:
        has = f"has maps {', '.join(known)}: choose among them, or maps for all" if known else "has none: leave it out"
        raise ConfigError(f"export.outputs: {unknown[0]}, but this backbone ({card.backbone.name}) {has}.")
    return list(layers) if "maps" in asked else sorted(known[name] for name in asked)


def export_maps(
    encoder: Encoder, card: ModelCard, path: Path, layers: Sequence[int], *, l2_normalize: bool, opset: int
) -> None:
    """Write the graph `images` [N, H, W, C] -> `embedding` [N, D] and, for each layer, `map_<layer>` [N, C', h, w].

    The entry `maps` of the metadata gives the layer, channels, height and width of each map, and its stride: the
    distance between its cells, in px of the image at the trained size.

    Args:
        encoder: Trained encoder, exported in eval mode.
        card: Description of the encoder.
        path: Path of the file to write.
        layers: Numbers of the layers, counted from 1.
        l2_normalize: Whether embeddings are scaled to unit length; maps stay as the backbone returns them.
        opset: ONNX operator set, 18 to 23.

    Raises:
        PipelineError: The graph exceeds 2 GB.
    """
    module = FromPixels(card, WithMaps(encoder, layers, l2_normalize))
    model = network_graph(module, ["images"], ["embedding", *map(map_name, layers)], opset)
    maps = {map_name(layer): _described(model, layer, card.size) for layer in layers}
    metadata = backbone_metadata(card, l2_normalize)
    told = [
        f"{name}: float32 [N, {about['channels']}, {about['height']}, {about['width']}]" for name, about in maps.items()
    ]
    metadata["output"] = "; ".join([metadata["output"], *told])
    fit_before(model, "images", module, alone=True)
    write_proto(model, path, {**metadata, "maps": json.dumps(maps)})


def _described(model: onnx.ModelProto, layer: int, size: int) -> dict[str, Any]:
    value = next(value for value in model.graph.output if value.name == map_name(layer))
    channels, height, width = (dim.dim_value for dim in value.type.tensor_type.shape.dim[1:])
    return {"layer": layer, "channels": channels, "height": height, "width": width, "stride": size / height}
