"""Networks in fewer bits, by onnxruntime's own tools: half precision, and integers of 8 bits.

int8 in convolutional networks is static: weights are 7-bit integers with a scale for each output channel, activations
unsigned 8-bit integers whose scales come from calibration images. With 7 bits, the sum of two products stays below
2**15 (255 * 64 * 2), so that processors without VNNI, which add such pairs in 16 bits, compute the same as others.

In networks that hold most of their weights in matrix products, such as transformers, int8 is dynamic: only these
products are in integers, and the scale of an activation is found while it runs. Their activations have outliers, which
a fixed scale has to cover. The scale is found over a whole batch, so that the embedding of an image depends, a little,
on the images beside it; the gate measures how much.
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
"""When the scales of activations are found: by calibration images, or while the file runs."""


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
    with named(network, "cannot write this backbone as fp16"):
        network = onnx.shape_inference.infer_shapes(network)
        kept = [node for node in network.graph.node if node.name in exact]
        inner = [node for node in network.graph.node if node.name not in exact]
        taken, given = _crossing(network.graph, inner)
        converted = convert_float_to_float16(Extractor(network).extract_model(taken, given), keep_io_types=True)
        read = {name for node in kept for name in node.input}
        both = {tensor.name for tensor in converted.graph.initializer} & read
        renamed(converted.graph, {name: f"{name}_fp16" for name in both})  # kept nodes read the same numbers in float32
        result = onnx.ModelProto()
        result.CopyFrom(network)
        for field in ("node", "initializer", "value_info"):
            result.graph.ClearField(field)
        result.graph.node.extend([*kept, *converted.graph.node])
        result.graph.initializer.extend(converted.graph.initializer)
        result.graph.initializer.extend(one for one in network.graph.initializer if one.name in read)
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


def _activations(network: onnx.ModelProto) -> Activations:
    """Return how a network becomes integers: dynamic if matrix products hold more weights than convolutions do."""
    shares = weight_shares(network.graph)
    return "dynamic" if shares["MatMul"] + shares["Gemm"] > shares["Conv"] else "static"


def integers(
    network: onnx.ModelProto, calibrate: Callable[[], Sequence[Images]], method: str
) -> tuple[onnx.ModelProto, Activations]:
    """Return a network in int8, whose inputs and outputs are float32, and when the scales of its activations are found.

    Args:
        network: The network, in float32.
        calibrate: Returns calibration images, each (n, C, S, S) as `FITTED` is; called for a static network alone.
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
    activations = _activations(network)
    batches = calibrate() if activations == "static" else []
    with tempfile.TemporaryDirectory() as folder, named(network, "cannot write this backbone as int8"), _quiet():
        # files, because the tools move the weights of a model in memory out of it
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
                extra_options={"CalibStridedMinMax": 1},  # by batches: the outputs of all layers would fill the memory
                **weights,
            )
        return onnx.load(made), activations


def _with_own_names(path: Path) -> onnx.ModelProto:
    """Make sure that the copies which onnxruntime makes of biases get names of their own; return the model of a file.

    It copies a bias that several nodes read, and appends a number to its name, whatever else has the new name: a copy
    of val_12 became val_129 in PoolFormer, and hid the output of another node.
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
    """Keep the tools from printing, and from giving the root logger a handler."""
    handler, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(handler)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.removeHandler(handler)
