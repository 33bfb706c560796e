"""Writing ONNX files: each is self-contained, checked, and has the same bytes each time it is written."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import atomic_file

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["add_metadata", "traced", "write_graph", "write_proto"]

_MAX_BYTES = 2**31 - 1
"""Largest size in bytes of a protobuf message, and therefore of a self-contained ONNX file."""


def write_graph(
    module: "nn.Module", inputs: "tuple[Tensor, ...]", path: Path, *, metadata: Mapping[str, str], **options: Any
) -> None:
    """Export a module as one ONNX file.

    Args:
        module: Module to export, in its current mode (train or eval).
        inputs: Examples of its positional arguments; see `traced`.
        path: Path of the file to write; its folder is created if necessary.
        metadata: Metadata of the file, which can be read without running the graph.
        **options: Names, dynamic shapes and operator set, as `traced` takes them.

    Raises:
        PipelineError: The graph exceeds 2 GB, which one file cannot hold.
    """
    write_proto(traced(module, inputs, **options), path, metadata)


def traced(
    module: "nn.Module",
    inputs: "tuple[Tensor, ...]",
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_shapes: dict[str, Any] | tuple[Any, ...],
    opset: int = 18,
) -> onnx.ModelProto:
    """Return a module as an ONNX model.

    Attention is traced in its plain form. The fused form leads to the same arithmetic in the graph, but if its mask is
    computed, as in MaxViT and BEiT, the exporter decomposes it into tensors whose layout differs from the traced one.

    Args:
        module: Module to trace, in its current mode (train or eval).
        inputs: Examples of its positional arguments. Dynamic dimensions must have a length of at least 2 in them: the
            exporter takes a length of 1 for a constant.
        input_names: Names of the graph's inputs, in order.
        output_names: Names of the graph's outputs, in order.
        dynamic_shapes: Dynamic shapes, as `torch.export` takes them: for each argument, dimension ->
            `torch.export.Dim`.
        opset: ONNX operator set, 18 to 23.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        # it warns of inputs that share a Dim and so must have equal lengths, which is intended
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
    return program.model_proto


def write_proto(model: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> None:
    """Check an ONNX model and write it, whole or not at all, without traces of the machine that made it.

    The file format has the oldest version that supports the model's operator set: version 8 for operator set 18, which
    onnxruntime 1.14 and later read.

    Args:
        model: Model to write; it is changed: the exporter's notes about source lines are stripped.
        path: Path of the file to write.
        metadata: Metadata that replaces the model's own, written in the order of keys, together with the operator set.

    Raises:
        PipelineError: The model exceeds 2 GB.
    """
    _strip(model)
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    onnx.helper.set_model_props(model, dict(sorted({**metadata, "opset": str(opset)}.items())))
    if model.ByteSize() > _MAX_BYTES:
        raise PipelineError(
            f"{path}: the graph is {model.ByteSize() / 1e9:.1f} GB; a self-contained ONNX file holds at most 2 GB. "
            "Choose a smaller backbone (pretrain.backbone)."
        )
    onnx.checker.check_model(model, full_check=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def add_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Add metadata to a file that `write_proto` wrote, without changing its graph.

    Raises:
        PipelineError: The file would exceed 2 GB.
    """
    model = onnx.load(path)
    write_proto(model, path, {entry.key: entry.value for entry in model.metadata_props} | dict(metadata))


def _strip(message: Any) -> None:
    """Remove the exporter's notes: stack traces with absolute paths would make the bytes differ between machines.

    Args:
        message: Protobuf message; the messages in it are stripped, too.
    """
    for note in ("doc_string", "metadata_props"):
        if note in message.DESCRIPTOR.fields_by_name:
            message.ClearField(note)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                _strip(part)
