"""Small networks of a few operators that begin at `FITTED`, and ways to spoil a network."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ssl_pipeline.deployment.halves import FITTED


def onnx_session(model: onnx.ModelProto) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def products(*kinds: str) -> onnx.ModelProto:
    """Return a network of matrix products: it flattens images of 2 x 2 px and applies one operator after the other."""
    generator = np.random.default_rng(0)
    weights = [generator.normal(size=(12, 12)).astype(np.float32) for _ in kinds]
    nodes, last = [helper.make_node("Flatten", [FITTED], ["flat"], name="flatten")], "flat"
    for number, kind in enumerate(kinds):
        takes = [last, f"w{number}"] if kind == "MatMul" else [last]
        nodes.append(helper.make_node(kind, takes, [f"x{number}"], name=f"node{number}"))
        last = f"x{number}"
    nodes[-1].output[0] = "embedding"
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info(FITTED, TensorProto.FLOAT, ["batch", 3, 2, 2])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 12])],
        [numpy_helper.from_array(values, f"w{number}") for number, values in enumerate(weights)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def convolved(
    nodes: Sequence[onnx.NodeProto], values: Mapping[str, np.ndarray], *, given: str = FITTED, made: Any = (3, 4, 4)
) -> onnx.ModelProto:
    """Return a model of the given nodes on images of 4 x 4 px, whose output `embedding` is (batch, *made)."""
    graph = helper.make_graph(
        nodes,
        "convolved",
        [helper.make_tensor_value_info(given, TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", *made])],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def invalid(network: onnx.ModelProto) -> None:
    """Make the graph invalid for onnx's checker."""
    network.graph.node[-1].op_type = "Frobnicate"


def unrunnable(network: onnx.ModelProto) -> None:
    """Make the graph fail when it runs, but not before."""
    network.graph.node[-1].output[0] = "late"
    network.graph.initializer.append(numpy_helper.from_array(np.array([7]), "seven"))
    network.graph.node.append(helper.make_node("Shape", ["late"], ["shape"], name="shape"))
    network.graph.node.append(helper.make_node("Mul", ["shape", "seven"], ["longer"], name="longer"))
    network.graph.node.append(helper.make_node("Reshape", ["late", "longer"], ["embedding"], name="Reshape"))
