"""backbone_core.onnx: the network alone, for runtimes and chips that take float tensors of one size.

It is cut out of backbone.onnx: from the normalised images on, both have the same nodes and weights.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.deployment.bounds import BACKBONE
from ssl_pipeline.deployment.fitting_graph import fitted
from ssl_pipeline.deployment.onnx_file import write_proto
from ssl_pipeline.deployment.proof import Answers, Batches, Proof, Reference, prove
from ssl_pipeline.deployment.runtime import images_of, open_session, read_metadata
from ssl_pipeline.types import Encoder
from ssl_pipeline.types.encoder import normalised

__all__ = ["Core", "cut_core", "prove_core", "write_core"]

_IMAGES_AT_ONCE = 7
"""Batch size of the proof for a graph that takes any number of images."""


@dataclass(frozen=True)
class Core:
    """The file of a network without resizing and normalising.

    Attributes:
        path: Path of the file.
        batch: Number of images that it takes at once, None for any.
    """

    path: Path
    batch: int | None = None


def cut_core(model: onnx.ModelProto) -> onnx.ModelProto:
    """Cut a network's graph at its output `normalised`, and remove this output from the graph.

    Args:
        model: Graph from images in [0, 1] to embeddings and `normalised`; it is changed.

    Returns:
        The graph from `normalised` to embeddings.
    """
    from onnxscript.optimizer import remove_unused_nodes  # importing it takes 0.5 s, and few stages need it

    place = next(place for place, value in enumerate(model.graph.output) if value.name == "normalised")
    taken = model.graph.output.pop(place)
    core = onnx.ModelProto()
    core.CopyFrom(model)
    model.graph.value_info.append(taken)
    graph, whole = core.graph, fitted("images")
    for node in graph.node:
        for name in range(len(node.input)):
            if node.input[name] == whole:  # some nodes read the number of images from it
                node.input[name] = taken.name
    kept = [node for node in graph.node if taken.name not in node.output]
    del graph.node[:], graph.input[:]
    graph.node.extend(kept)
    graph.input.append(taken)
    remove_unused_nodes(core)
    return core


def write_core(model: onnx.ModelProto, core: Core, encoder: Encoder, metadata: Mapping[str, str]) -> None:
    """Write the graph `normalised` float32 [N, C, S, S] -> `embedding` float32 [N, D].

    Its metadata describes how images become its input.

    Args:
        model: Graph that `cut_core` returned; it is changed.
        core: Path of the file, and the number of images that it takes at once.
        encoder: Encoder, whose normalisation the metadata describes.
        metadata: Metadata of the graph from pixels, whose `mean` and `std` are the encoder's.

    Raises:
        PipelineError: The graph exceeds 2 GB.
    """
    graph = model.graph
    if core.batch is not None:
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param == "batch":
                    dim.dim_value = core.batch
    mean, std = (values.flatten().tolist() for values in (encoder.mean, encoder.std))
    least = min(-middle / width for middle, width in zip(mean, std, strict=True))
    most = max((1 - middle) / width for middle, width in zip(mean, std, strict=True))
    channels, size = (dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim[1:3])
    number = "N" if core.batch is None else core.batch
    seen = "the luminance of images in [0, 1], as 3 equal channels," if encoder.grayscale else "images in [0, 1]"
    own = {
        "input": f"normalised: float32 [{number}, {channels}, {size}, {size}], {seen} less `mean`, over `std`",
        "preprocessing": f"resize to {size} x {size} by `resize`, with the antialiased bilinear filter; bring `scale` "
        "to [0, 1] and clip; subtract `mean`, divide by `std`; channels first",
        "range": json.dumps([least, most]),
    }
    write_proto(model, core.path, {**metadata, **own})


def prove_core(core: Core, batches: Batches, answers: Answers) -> Proof:
    """Compare backbone_core.onnx, on images normalised as its metadata says, with the embeddings that torch computed.

    Args:
        core: File that `write_core` wrote.
        batches: Batches of images (N, H, W, C), at their original shapes.
        answers: Embeddings (N, D) of these batches, computed by torch.

    Raises:
        PipelineError: The graph does not compute what torch computes.
    """
    metadata = read_metadata(open_session(core.path))
    rows = [_normalised(images, metadata) for (images,) in batches.values()]
    at_once, bounds = core.batch or _IMAGES_AT_ONCE, BACKBONE
    if core.batch not in (None, 1):
        bounds = replace(bounds, max_row_difference=None)  # it cannot run on a single row
    taken, told = (_batches(at_once, arrays) for arrays in (rows, [answers[name] for name in batches]))
    reference = Reference("torch", [lambda _: told])
    advice = "the backbone does not export exactly; try another export.opset or pretrain.backbone."
    return prove(core.path, reference, {name: (array,) for name, array in taken.items()}, bounds, advice)


def _normalised(images: npt.NDArray[Any], metadata: Mapping[str, str]) -> npt.NDArray[np.float32]:
    """Return images (N, H, W, C) resized and normalised as a core's metadata prescribes, (N, C, S, S)."""
    read = {name: json.loads(metadata[name]) for name in ("size", "background", "mean", "std", "grayscale")}
    spec = images_of(metadata)
    whole = fit(torch.tensor(images), read["size"], metadata["resize"], read["background"], spec)
    mean, std = (torch.tensor(read[name]).reshape(1, -1, 1, 1) for name in ("mean", "std"))
    made: npt.NDArray[np.float32] = normalised(whole, mean, std, read["grayscale"]).numpy()
    return made


def _batches(size: int, arrays: Sequence[npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return rows in batches of equal size; the last batch is filled up with the first rows."""
    rows = np.concatenate(arrays)
    count = -(-len(rows) // size)
    whole = np.resize(rows, (count * size, *rows.shape[1:]))
    return {f"batch/{number}": batch for number, batch in enumerate(np.split(whole, count))}
