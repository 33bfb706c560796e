"""Networks in fewer bits, made by onnxruntime's own tools: half precision, and 8-bit integers.

For convolutional networks, int8 is static: weights are 7-bit integers with one scale per output channel, activations
are unsigned 8-bit integers whose scales come from calibration images. With 7 bits, the sum of two products stays below
2**15 (255 * 64 * 2). Processors without VNNI, which add such pairs in 16 bits, therefore compute the same as others.

For networks with most of their weights in matrix products, such as transformers, int8 is dynamic: only these products
are computed in integers, and the scale of an activation is determined at run time, because their activations have
outliers that a fixed scale would have to cover. This scale covers a whole batch, so the embedding of an image depends
slightly on the rest of its batch; the gate measures how much.
"""

import contextlib
import io
import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx.utils import Extractor

from ssl_pipeline.deployment.halves import FITTED, before_weights, behind_weights, renamed, weight_shares
from ssl_pipeline.deployment.tools import named

__all__ = ["Activations", "half", "integers"]

Images = npt.NDArray[np.float32]
Activations = Literal["static", "dynamic"]
"""Source of the activations' scales: calibration images (static), or each batch at run time (dynamic)."""


def half(network: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network in float16, with inputs and outputs in float32.

    Nodes before the first and after the last weights stay in float32, so that images are normalised, and embeddings
    pooled and scaled to unit length, without rounding and without overflow.

    Args:
        network: Network in float32.

    Raises:
        PipelineError: The converter fails; the message names the operator.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    exact = {*before_weights(network.graph), *behind_weights(network.graph)}
    with named(network, "cannot write this backbone as fp16"):
        network = onnx.shape_inference.infer_shapes(network)
        kept = [node for node in network.graph.node if node.name in exact]
        inner = [node for node in network.graph.node if node.name not in exact]
        taken, given = _crossing(network.graph, inner)
        converted = convert_float_to_float16(Extractor(network).extract_model(taken, given), keep_io_types=True)
        read = {name for node in kept for name in node.input}
        both = {tensor.name for tensor in converted.graph.initializer} & read
        renamed(converted.graph, {name: f"{name}_fp16" for name in both})  # float32 nodes read the originals
        result = onnx.ModelProto()
        result.CopyFrom(network)
        for field in ("node", "initializer", "value_info"):
            result.graph.ClearField(field)
        result.graph.node.extend([*kept, *converted.graph.node])
        result.graph.initializer.extend(converted.graph.initializer)
        result.graph.initializer.extend(one for one in network.graph.initializer if one.name in read)
        OnnxModel(result).topological_sort(is_deterministic=True)  # the converter appends its casts at the end
    return result


def _crossing(graph: onnx.GraphProto, inner: Sequence[onnx.NodeProto]) -> tuple[list[str], list[str]]:
    """Return the names of the values that some nodes take from the rest of a graph, and of those they pass to it."""
    made = [name for node in inner for name in node.output]
    others = {name for node in graph.node if node not in inner for name in node.input}
    others |= {value.name for value in graph.output}
    inside = {*made, *(tensor.name for tensor in graph.initializer), ""}
    taken = dict.fromkeys(name for node in inner for name in node.input if name not in inside)
    return list(taken), [name for name in made if name in others]


def _activations(network: onnx.ModelProto) -> Activations:
    """Return the kind of quantization for a network: dynamic if matrix products have more weights than convolutions."""
    shares = weight_shares(network.graph)
    return "dynamic" if shares["MatMul"] + shares["Gemm"] > shares["Conv"] else "static"


def integers(
    network: onnx.ModelProto, calibrate: Callable[[], Sequence[Images]], method: str
) -> tuple[onnx.ModelProto, Activations]:
    """Return a network in int8, with inputs and outputs in float32, and the source of its activations' scales.

    Args:
        network: Network in float32.
        calibrate: Function that returns batches of calibration images (n, C, S, S), as `FITTED` has them; it is called
            only for a static network.
        method: Method to derive a scale from the values of an activation: minmax, entropy or percentile.

    Raises:
        PipelineError: The quantizer fails; the message names the operator.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    weights: dict[str, Any] = {"per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8}
    methods = {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }
    activations = _activations(network)
    batches = calibrate() if activations == "static" else []
    with tempfile.TemporaryDirectory() as folder, named(network, "cannot write this backbone as int8"), _quiet():
        # files are used because the tools strip the weights from a model in memory
        given, prepared, made = (Path(folder, f"{name}.onnx") for name in ("given", "prepared", "made"))
        onnx.save(network, given)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        if activations == "dynamic":
            quantize_dynamic(prepared, made, op_types_to_quantize=["MatMul", "Gemm"], **weights)
        else:
            exact = before_weights(_with_own_names(prepared).graph)
            quantize_static(
                prepared,
                made,
                _reader(batches),
                activation_type=QuantType.QUInt8,
                calibrate_method=methods[method],
                nodes_to_exclude=exact,
                extra_options={"CalibStridedMinMax": 1},  # batch by batch, to bound the memory for all layers' outputs
                **weights,
            )
        return onnx.load(made), activations


def _with_own_names(path: Path) -> onnx.ModelProto:
    """Rename shared biases in a file, so that the names of onnxruntime's copies are unique; return its model.

    onnxruntime copies a bias that several nodes read, and appends a number to its name without checking that the new
    name is free: in PoolFormer, a copy of val_12 became val_129 and hid the output of another node.
    """
    model = onnx.load(path)
    biases = Counter(node.input[2] for node in model.graph.node if len(node.input) > 2)
    values = [*(name for node in model.graph.node for name in node.output), *(t.name for t in model.graph.initializer)]
    hiding = {
        tensor.name: f"{tensor.name}_shared"
        for tensor in model.graph.initializer
        if biases[tensor.name] > 1 and any(_appends_a_number(name, tensor.name) for name in values)
    }
    if hiding:
        renamed(model.graph, hiding)
        onnx.save(model, path)
    return model


def _appends_a_number(name: str, start: str) -> bool:
    return name.startswith(start) and name[len(start) :].isdigit()


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
def _quiet() -> Iterator[None]:
    """Keep the tools from printing, and from adding a handler to the root logger."""
    handler, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(handler)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.removeHandler(handler)
