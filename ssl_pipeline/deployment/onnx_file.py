"""Writing ONNX files: one self-contained file, checked, with the same bytes each time it is written."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import atomic_file

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["write_graph", "write_proto"]

_MAX_BYTES = 2**31 - 1
"""Bytes that one protobuf message, and therefore one self-contained ONNX file, can hold."""


def write_graph(
    module: "nn.Module",
    inputs: "tuple[Tensor, ...]",
    path: Path,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_shapes: dict[str, Any] | tuple[Any, ...],
    opset: int = 18,
    metadata: Mapping[str, str],
    images: Sequence[str] = (),
) -> None:
    """Export a module as one ONNX file.

    Args:
        module: Exported in the mode (train or eval) that it is in.
        inputs: Examples of its positional arguments. A dynamic dimension must be at least 2 long in them: the exporter
            takes a 1 for a constant.
        path: The path of the file to write; its folder is made if need be.
        input_names: Names of the graph's inputs, in order.
        output_names: Names of the graph's outputs, in order.
        dynamic_shapes: The dynamic shapes, as `torch.export` takes them: for each argument, dimension ->
            `torch.export.Dim`.
        opset: ONNX operator set, 18 to 23.
        metadata: Becomes the file's metadata; readers find it without running the graph.
        images: Names of the inputs (N, H, W, C) of which the graph itself refuses a height or width of 0.

    Raises:
        PipelineError: The graph exceeds 2 GB, which one file cannot hold.
    """
    import torch

    with warnings.catch_warnings():
        # two inputs that share a Dim, and so must be of equal length, are what was asked for
        warnings.filterwarnings("ignore", message="# The axis name: .* will not be used", category=UserWarning)
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=list(input_names),
            output_names=list(output_names),
            dynamic_shapes=dynamic_shapes,
            opset_version=opset,
        )
    assert program is not None  # only dynamo=False returns None
    model = program.model_proto
    for name in images:
        _refuse_empty(model.graph, name)
    write_proto(model, path, metadata)


def write_proto(model: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> None:
    """Write an ONNX model whole, checked, its metadata replaced, without traces of the machine that made it.

    Args:
        model: The model, which is changed: what the exporter notes about source lines is stripped.
        path: The path of the file to write.
        metadata: Replaces the model's own; written in the order of the keys.

    Raises:
        PipelineError: The model exceeds 2 GB.
    """
    _strip(model)
    onnx.helper.set_model_props(model, dict(sorted(metadata.items())))
    if model.ByteSize() > _MAX_BYTES:
        raise PipelineError(
            f"{path}: the graph is {model.ByteSize() / 1e9:.1f} GB, and a self-contained ONNX file holds at most 2 GB. "
            "Choose a smaller backbone (pretrain.backbone)."
        )
    onnx.checker.check_model(model, full_check=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _refuse_empty(graph: onnx.GraphProto, name: str) -> None:
    """Put a gate behind an input of images (N, H, W, C): they are given the shape (N, max(H, 1), max(W, 1), C).

    That is the shape that they have. Where it is not, there are no pixels to fill it with, and every runtime refuses.
    torch's own checks do not reach the file: the exporter takes each length for at least 1 and removes them.
    """
    given = next(value for value in graph.input if value.name == name)
    passed, shape, least, needed = (f"{name}_{part}" for part in ("checked", "shape", "least_shape", "needed_shape"))
    for node in graph.node:
        for place, taken in enumerate(node.input):
            if taken == name:
                node.input[place] = passed
    gate = [
        onnx.helper.make_node("Shape", [name], [shape], name=shape),
        onnx.helper.make_node("Max", [shape, least], [needed], name=needed),
        onnx.helper.make_node("Reshape", [name, needed], [passed], name=f"{name}_must_have_pixels"),
    ]
    nodes = [*gate, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 1, 1, 1], np.int64), least))
    known = graph.value_info.add()
    known.CopyFrom(given)
    known.name = passed


def _strip(message: Any) -> None:
    """Remove the exporter's notes: stack traces with absolute paths would make the bytes differ between machines.

    Args:
        message: Any protobuf message; all that it holds is stripped too.
    """
    for note in ("doc_string", "metadata_props"):
        if note in message.DESCRIPTOR.fields_by_name:
            message.ClearField(note)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                _strip(part)
