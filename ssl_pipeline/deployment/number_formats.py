"""Networks in fewer bits, by onnxruntime's own tools: half precision, and integers of 8 bits.

int8 in convolutional networks is static: weights are 7-bit integers with a scale for each output channel, activations
unsigned 8-bit integers whose scales come from calibration images. With 7 bits, the sum of two products stays below
2**15 (255 * 64 * 2), so that processors without VNNI, which add such pairs in 16 bits, compute the same as others.

In networks that hold most of their weights in matrix products, such as transformers, int8 is dynamic: only these
products are in integers, and the scale of an activation is found while it runs. Their activations have outliers, which
a fixed scale has to cover.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.utils import Extractor

from ssl_pipeline.deployment.halves import FITTED, before_weights, behind_weights, weight_shares
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import brief

__all__ = ["half", "integers", "is_dynamic"]

Images = npt.NDArray[np.float32]


def half(network: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network in float16, whose inputs and outputs are float32.

    Nodes before the first and behind the last weights stay in float32: images are normalised, and embeddings pooled and
    brought to unit length, without rounding and without overflow.

    Args:
        network: The network, in float32.

    Raises:
        PipelineError: The converter cannot handle it; the message names the operator.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    exact = {*before_weights(network.graph), *behind_weights(network.graph)}
    kept = [node for node in network.graph.node if node.name in exact]
    inner = [node for node in network.graph.node if node.name not in exact]
    with _named(network, "fp16"):
        network = onnx.shape_inference.infer_shapes(network)
        taken, given = _crossing(network.graph, inner)
        converted = convert_float_to_float16(Extractor(network).extract_model(taken, given), keep_io_types=True)
    result, read = onnx.ModelProto(), {name for node in kept for name in node.input}
    result.CopyFrom(network)
    for field in ("node", "initializer", "value_info"):
        result.graph.ClearField(field)
    result.graph.node.extend([*kept, *converted.graph.node])
    result.graph.initializer.extend(converted.graph.initializer)
    known = {tensor.name for tensor in converted.graph.initializer}
    result.graph.initializer.extend(one for one in network.graph.initializer if one.name in read - known)
    OnnxModel(result).topological_sort(is_deterministic=True)  # the converter's casts come last
    return result


def _crossing(graph: onnx.GraphProto, inner: Sequence[onnx.NodeProto]) -> tuple[list[str], list[str]]:
    """Return the names of what some nodes of a graph take from the others, and of what they give to them."""
    made = [name for node in inner for name in node.output]
    others = {name for node in graph.node if node not in inner for name in node.input}
    others |= {value.name for value in graph.output}
    inside = {*made, *(tensor.name for tensor in graph.initializer), ""}
    taken = dict.fromkeys(name for node in inner for name in node.input if name not in inside)
    return list(taken), [name for name in made if name in others]


def is_dynamic(network: onnx.ModelProto) -> bool:
    """Say whether int8 of a network is dynamic: whether matrix products hold more weights than convolutions do."""
    shares = weight_shares(network.graph)
    return shares["MatMul"] + shares["Gemm"] > shares["Conv"]


def integers(network: onnx.ModelProto, batches: Sequence[Images], method: str) -> onnx.ModelProto:
    """Return a network in int8, whose inputs and outputs are float32.

    Args:
        network: The network, in float32.
        batches: Calibration images, each (n, C, S, S) as `FITTED` is; a dynamic network does without.
        method: How a scale follows from the values of its activation: minmax, entropy or percentile.

    Raises:
        PipelineError: The quantizer cannot handle it; the message names the operator.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    weights: dict[str, Any] = {"per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8}
    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    with tempfile.TemporaryDirectory() as folder, _named(network, "int8"), _quiet():
        # files, because the tools move the weights of a model in memory out of it
        given, prepared, made = (Path(folder, f"{name}.onnx") for name in ("given", "prepared", "made"))
        onnx.save(network, given)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        ready = onnx.load(prepared)
        if is_dynamic(ready):
            quantize_dynamic(prepared, made, op_types_to_quantize=["MatMul", "Gemm"], **weights)
        else:
            quantize_static(
                prepared,
                made,
                _reader(batches),
                activation_type=QuantType.QUInt8,
                calibrate_method=methods[method],
                nodes_to_exclude=before_weights(ready.graph),
                extra_options={"CalibStridedMinMax": 1},  # by batches: the outputs of all layers would fill the memory
                **weights,
            )
        return onnx.load(made)


def _reader(batches: Sequence[Images]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(batches)

        def __len__(self) -> int:
            return len(batches)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.left = iter(batches[start_index:end_index])

        def get_next(self) -> dict[str, Images] | None:
            batch = next(self.left, None)
            return None if batch is None else {FITTED: batch}

    return Reader()


@contextlib.contextmanager
def _named(network: onnx.ModelProto, variant: str) -> Iterator[None]:
    """Say of a tool's error which operators it is about, and what to do."""
    try:
        yield
    except Exception as error:  # what the tools raise has no narrower base
        operators = sorted({node.op_type for node in network.graph.node})
        meant = [operator for operator in operators if operator in str(error)] or operators
        raise PipelineError(
            f"onnxruntime's tools cannot write this backbone as {variant}, because of {', '.join(meant[:10])}: "
            f"{brief(error)}. Another export.opset may help."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tools from printing, and from giving the root logger a handler."""
    handler, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(handler)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.removeHandler(handler)
