"""backbone_core.onnx: the network alone, for runtimes and chips that take float tensors of one size.

It is cut out of backbone.onnx: both hold the same nodes and weights from the normalised images on.
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
"""Images of a batch on which a graph of any number of images is tried."""


@dataclass(frozen=True)
class Core:
    """The file of a network alone.

    Attributes:
        path: The path of the file.
        batch: The number of images that it takes at once; None: any.
    """

    path: Path
    batch: int | None = None


def cut_core(model: onnx.ModelProto) -> onnx.ModelProto:
    """Cut a network's graph in two at its output `normalised`, which is no output any more.

    Args:
        model: The graph, images in [0, 1] -> embeddings and `normalised`; is changed.

    Returns:
        A graph `normalised` -> embeddings.
    """
    from onnxscript.optimizer import remove_unused_nodes  # takes half a second, which stages without an export save

    place = next(place for place, value in enumerate(model.graph.output) if value.name == "normalised")
    taken = model.graph.output.pop(place)
    core = onnx.ModelProto()
    core.CopyFrom(model)
    model.graph.value_info.append(taken)
    graph, whole = core.graph, fitted("images")
    for node in graph.node:
        for name in range(len(node.input)):
            if node.input[name] == whole:  # some ask it for the number of images
                node.input[name] = taken.name
    kept = [node for node in graph.node if taken.name not in node.output]
    del graph.node[:], graph.input[:]
    graph.node.extend(kept)
    graph.input.append(taken)
    remove_unused_nodes(core)
    return core


def write_core(model: onnx.ModelProto, core: Core, encoder: Encoder, metadata: Mapping[str, str]) -> None:
    """Write a graph `normalised` float32 [N, C, S, S] -> `embedding` float32 [N, D], which says how images become such.

    Args:
        model: The graph, as `cut_core` returns it; is changed.
        core: The path of the file, and the number of images that it takes at once.
        encoder: The encoder, which normalises.
        metadata: The metadata of the graph from pixels, whose `mean` and `std` are the encoder's.

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
    """Hold backbone_core.onnx against what torch has answered to images, which are normalised as its metadata says.

    Args:
        core: The file that `write_core` wrote.
        batches: Batches of images (N, H, W, C), at their own shapes.
        answers: The embeddings (N, D) that torch has made of them.

    Raises:
        PipelineError: The graph computes something else than torch.
    """
    metadata = read_metadata(open_session(core.path))
    rows = [_normalised(images, metadata) for (images,) in batches.values()]
    at_once, bounds = core.batch or _IMAGES_AT_ONCE, BACKBONE
    if core.batch not in (None, 1):
        bounds = replace(bounds, max_row_difference=None)  # no row can be had alone
    taken, told = (_batches(at_once, arrays) for arrays in (rows, [answers[name] for name in batches]))
    reference = Reference("torch", [lambda _: told])
    advice = "the backbone does not export exactly; try another export.opset or pretrain.backbone."
    return prove(core.path, reference, {name: (array,) for name, array in taken.items()}, bounds, advice)


def _normalised(images: npt.NDArray[Any], metadata: Mapping[str, str]) -> npt.NDArray[np.float32]:
    """Return images (N, H, W, C) as the metadata says that a core takes them, (N, C, S, S)."""
    read = {name: json.loads(metadata[name]) for name in ("size", "background", "mean", "std", "grayscale")}
    spec = images_of(metadata)
    whole = fit(torch.tensor(images), read["size"], metadata["resize"], read["background"], spec)
    mean, std = (torch.tensor(read[name]).reshape(1, -1, 1, 1) for name in ("mean", "std"))
    made: npt.NDArray[np.float32] = normalised(whole, mean, std, read["grayscale"]).numpy()
    return made


def _batches(size: int, arrays: Sequence[npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Return rows in batches of one size; the first rows fill the last batch up."""
    rows = np.concatenate(arrays)
    count = -(-len(rows) // size)
    whole = np.resize(rows, (count * size, *rows.shape[1:]))
    return {f"batch/{number}": batch for number, batch in enumerate(np.split(whole, count))}
