"""Writing ONNX files: one self-contained file, checked, with the same bytes each time it is written."""

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
"""Bytes that one protobuf message, and therefore one self-contained ONNX file, can hold."""


def write_graph(
    module: "nn.Module", inputs: "tuple[Tensor, ...]", path: Path, *, metadata: Mapping[str, str], **options: Any
) -> None:
    """Export a module as one ONNX file.

    Args:
        module: Exported in the mode (train or eval) that it is in.
        inputs: Examples of its positional arguments; see `traced`.
        path: The path of the file to write; its folder is made if need be.
        metadata: Becomes the file's metadata; readers find it without running the graph.
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

    Attention is traced in its plain form. The fused one has the same arithmetic in the graph; but where its mask is
    computed, as in MaxViT and BEiT, the exporter takes it apart into tensors of another layout than it told the trace.

    Args:
        module: Traced in the mode (train or eval) that it is in.
        inputs: Examples of its positional arguments. A dynamic dimension must be at least 2 long in them: the exporter
            takes a 1 for a constant.
        input_names: Names of the graph's inputs, in order.
        output_names: Names of the graph's outputs, in order.
        dynamic_shapes: The dynamic shapes, as `torch.export` takes them: for each argument, dimension ->
            `torch.export.Dim`.
        opset: ONNX operator set, 18 to 23.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
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
    return program.model_proto


def write_proto(model: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> None:
    """Write an ONNX model whole, checked, its metadata replaced, without traces of the machine that made it.

    The version of the file's format is the oldest that has the model's operator set: 8 for 18, so that onnxruntime 1.14
    and later read it.

    Args:
        model: The model, which is changed: what the exporter notes about source lines is stripped.
        path: The path of the file to write.
        metadata: Replaces the model's own; written in the order of the keys, with the operator set.

    Raises:
        PipelineError: The model exceeds 2 GB.
    """
    _strip(model)
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    onnx.helper.set_model_props(model, dict(sorted({**metadata, "opset": str(opset)}.items())))
    if model.ByteSize() > _MAX_BYTES:
        raise PipelineError(
            f"{path}: the graph is {model.ByteSize() / 1e9:.1f} GB, and a self-contained ONNX file holds at most 2 GB. "
            "Choose a smaller backbone (pretrain.backbone)."
        )
    onnx.checker.check_model(model, full_check=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def add_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Add to what a file that `write_proto` wrote says about itself; its graph stays as it is.

    Raises:
        PipelineError: The file would exceed 2 GB.
    """
    model = onnx.load(path)
    write_proto(model, path, {entry.key: entry.value for entry in model.metadata_props} | dict(metadata))


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
