"""A teacher's graph as other projects export theirs: normalised images in, embeddings out."""

from typing import Any

import onnx
from onnx import TensorProto, helper

STATED = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
"""Normalisation of the graph's input images, as the user states it."""


def write_teacher(name: str, scale: float = 1.0, shape: tuple[Any, ...] = ("n", 3, 8, 8), nan: bool = False) -> str:
    """Write a graph from normalised images to the means of their 2 x 2 patches, 4 x 4 per channel, times a scale."""
    kind = TensorProto.FLOAT if shape[1] == 3 else TensorProto.UINT8
    nodes = [
        *([] if shape[1] == 3 else [helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT)]),
        helper.make_node("AveragePool", ["x" if shape[1] == 3 else "c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Mul", ["f", "s"], ["y" if not nan else "m"]),
        *([helper.make_node("Log", ["m"], ["y"])] if nan else []),
    ]
    value, output = (
        helper.make_tensor_value_info("x", kind, shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "d"]),
    )
    graph = helper.make_graph(nodes, "g", [value], [output], [helper.make_tensor("s", TensorProto.FLOAT, [], [scale])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), name)
    return name
