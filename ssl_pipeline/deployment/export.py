"""Writing the graphs that ship: backbone.onnx, energy.onnx, and classifiers built on a backbone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.export import Dim

from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.deployment.graph import PixelsToEmbedding, PixelsToEnergy
from ssl_pipeline.onnx_file import write_graph, write_proto
from ssl_pipeline.types import EnergyHead, ImageEnergyHead

__all__ = ["append_classifier", "export_backbone", "export_energy"]

_IMAGE_CONVENTION = (
    "uint8 [N, H, W, 3], RGB, 0 to 255, upright (EXIF orientation applied), transparency composited on `background`; "
    "any N, H and W: the graph resizes and normalises"
)


def export_backbone(
    encoder: nn.Module,
    card: ModelCard,
    path: Path,
    *,
    l2_normalize: bool,
    opset: int,
    extra_metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the graph from pixels to embedding: `images` uint8 [N, H, W, 3] -> `embedding` float32 [N, D].

    Args:
        encoder: The trained encoder, (N, 3, S, S) in [0, 1] -> (N, D); exported in eval mode.
        card: Of the encoder.
        path: Where the file goes.
        l2_normalize: Whether embeddings get unit length.
        opset: ONNX operator set, 18 to 23.
        extra_metadata: Added to what the card says.

    Raises:
        PipelineError: The graph exceeds 2 GB.
    """
    length = "of unit length" if l2_normalize else "as the backbone returns it, not normalised"
    metadata = {
        **describe(card),
        "input": f"images: {_IMAGE_CONVENTION}",
        "output": f"embedding: float32 [N, {card.embedding_dim}], {length}",
        "l2_normalized": json.dumps(l2_normalize),
        **(extra_metadata or {}),
    }
    write_graph(
        PixelsToEmbedding(encoder, card, l2_normalize).eval(),
        (_example(card),),
        path,
        input_names=["images"],
        output_names=["embedding"],
        dynamic_shapes=({0: Dim("batch"), 1: Dim("height"), 2: Dim("width")},),
        opset=opset,
        metadata=metadata,
        images=["images"],
    )


def export_energy(
    encoder: nn.Module, energy_head: EnergyHead | ImageEnergyHead, card: ModelCard, path: Path, *, opset: int
) -> None:
    """Write the graph from pairs of images to energies: `first`, `second` uint8 [N, H, W, 3] -> `energy` float32 [N].

    Heights and widths of `first` and `second` may differ. An energy of single images takes `images` instead. The
    metadata's `energy` names the energy.

    Args:
        encoder: The trained encoder, (N, 3, S, S) in [0, 1] -> (N, D); exported in eval mode.
        energy_head: The energy of pairs of its embeddings, or of images.
        card: Of the encoder.
        path: Where the file goes.
        opset: ONNX operator set, 18 to 23.

    Raises:
        PipelineError: The graph exceeds 2 GB.
    """
    batch, names = Dim("batch"), energy_head.inputs
    shapes = tuple({0: batch, 1: Dim(f"{name}_height"), 2: Dim(f"{name}_width")} for name in names)
    if isinstance(energy_head, ImageEnergyHead):
        taken, low = f"images: {_IMAGE_CONVENTION}", "for images that are as images should be"
    else:
        taken = f"first, second: each {_IMAGE_CONVENTION}, which may differ between the two but for N"
        low = "where first and second are compatible"
    metadata = {
        **describe(card),
        "input": taken,
        "output": f"energy: float32 [N], low {low}",
        "energy": energy_head.name,
    }
    write_graph(
        PixelsToEnergy(encoder, card, energy_head).eval(),
        tuple(_example(card) for _ in names),  # one tensor given twice would become one input
        path,
        input_names=list(names),
        output_names=["energy"],
        dynamic_shapes=shapes,
        opset=opset,
        metadata=metadata,
        images=names,
    )


def append_classifier(
    backbone: Path,
    weight: npt.NDArray[np.floating],
    bias: npt.NDArray[np.floating],
    classes: Sequence[str],
    path: Path,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the graph from pixels to class probabilities: a backbone's graph, and softmax(W · embedding + b) behind it.

    The backbone's nodes and weights are taken over as they are, so that what was verified and measured is what ships.

    Args:
        backbone: A file that `export_backbone` wrote.
        weight: (C, D) W; acts on the embedding that the file returns, normalised or not.
        bias: (C,) b.
        classes: C names, in the order of the rows of W; in the metadata as JSON.
        path: Where the new file goes; its output is `probabilities` float32 [N, C].
        metadata: Added to the backbone's.

    Raises:
        ValueError: Shapes do not fit together.
    """
    model = onnx.load(backbone)
    graph = model.graph
    batch, dim = graph.output[0].type.tensor_type.shape.dim
    if weight.shape != (len(classes), dim.dim_value) or bias.shape != (len(classes),):
        raise ValueError(
            f"{len(classes)} classes on {dim.dim_value} features need a weight ({len(classes)}, {dim.dim_value}) and a "
            f"bias ({len(classes)},), got {weight.shape} and {bias.shape}"
        )
    graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), "classifier.weight"))
    graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), "classifier.bias"))
    inputs = [graph.output[0].name, "classifier.weight", "classifier.bias"]
    graph.node.append(helper.make_node("Gemm", inputs, ["logits"], name="classifier", transB=1))
    graph.node.append(helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1))
    shape = [batch.dim_param, len(classes)]
    graph.output[0].CopyFrom(helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, shape))
    inherited = {entry.key: entry.value for entry in model.metadata_props}
    names = json.dumps(list(classes), ensure_ascii=False)
    output = f"probabilities: float32 [N, {len(classes)}], of `classes` in their order"
    write_proto(model, path, {**inherited, "output": output, "classes": names, **(metadata or {})})


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


def _example(card: ModelCard) -> torch.Tensor:
    """Images to trace with: two of them, neither square nor of the trained size."""
    return torch.zeros(2, card.size + 3, card.size + 5, 3, dtype=torch.uint8)
