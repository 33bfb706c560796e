"""Graphs like those that the stage export writes, but made instantly: the embedding is the image itself, 4 px wide."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 4
_TYPES = {"uint8": TensorProto.UINT8, "uint16": TensorProto.UINT16, "float32": TensorProto.FLOAT}


def write_graph(path: Path, dtype: str = "uint8", channels: int = 3, energy: bool = False, **metadata: Any) -> Path:
    """Write a graph from images (N, H, W, C) to rows of unit length, or to their means if it is an energy."""
    dim = SIDE * SIDE * channels
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Resize", ["planes", "", "", "sides"], ["small"], axes=[2, 3], mode="linear", antialias=1),
        helper.make_node("Flatten", ["small"], ["flat"]),
    ]
    if energy:
        nodes.append(helper.make_node("ReduceMean", ["flat", "last"], ["energy"], keepdims=0))
        output = helper.make_tensor_value_info("energy", TensorProto.FLOAT, ["batch"])
    else:
        nodes.append(helper.make_node("LpNormalization", ["flat"], ["embedding"], axis=1, p=2))
        output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dim])
    given = helper.make_tensor_value_info("images", _TYPES[dtype], ["batch", "height", "width", channels])
    constants = {"sides": [SIDE, SIDE], "last": [1]}
    initializers = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "graph", [given], [output], initializers),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    high = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[dtype]
    said = {
        "size": SIDE,
        "background": [255, 128, 0][:channels],
        "channels": channels,
        "scale": [0.0, high],
        "rgb": [0, 1, 2] if channels == 3 else None,
        "nodata": None,
        **metadata,
    }
    helper.set_model_props(model, {"dtype": dtype, **{name: json.dumps(value) for name, value in said.items()}})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
