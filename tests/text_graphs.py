"""A text tower like the one that the stage export writes, but made instantly: the mean of the token vectors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ssl_pipeline.products import record, sha256
from ssl_pipeline.tokenizer import TOKENIZER, Tokenizer, train

CAPTIONS = ["a handwritten zero", "a handwritten one", "the number two", "the number three", "a red bicycle"]
CONTEXT = 8


def small_tokenizer() -> Tokenizer:
    return train(CAPTIONS * 3, vocabulary=280, context=CONTEXT)


def write_text_tower(folder: Path, dim: int, broken: str = "", **metadata: Any) -> Path:
    """Write text.onnx and tokenizer.json into a folder, recorded as a stage records them; return the path of text.onnx.

    A tower can be `broken` in four ways: it has other `weights`, also reads the `padding`, mixes the texts of a
    `batch`, or gives all texts the same embedding (`collapse`).
    """
    tokenizer = folder / TOKENIZER
    tokenizer.write_text(small_tokenizer().json, encoding="utf-8")
    vectors = np.random.default_rng(broken == "weights").normal(size=(280, dim)).astype(np.float32)
    vectors = np.ones_like(vectors) if broken == "collapse" else vectors
    nodes = [
        helper.make_node("Gather", ["vectors", "tokens"], ["each"]),
        helper.make_node("Cast", ["mask"], ["there"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["there", "last"], ["weights"]),
        helper.make_node("Mul", ["each", "weights"], ["masked"]),
        helper.make_node("ReduceSum", ["each" if broken == "padding" else "masked", "length"], ["sum"], keepdims=0),
        helper.make_node("ReduceMean", ["sum", "batch"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["sum", "mean"], ["mixed"]),
        helper.make_node("LpNormalization", ["mixed" if broken == "batch" else "sum"], ["embedding"], axis=1, p=2),
    ]
    axes = {name: np.array([axis], np.int64) for name, axis in (("last", -1), ("length", 1), ("batch", 0))}
    constants = {"vectors": vectors, **axes}
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["N", "L"]) for name in ("tokens", "mask")],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", dim])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    said = {"l2_normalized": True, "context": CONTEXT, "tokenizer_sha256": sha256(tokenizer), **metadata}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in said.items()}
    helper.set_model_props(model, {"output": "rows", **texts})
    onnx.checker.check_model(model)
    onnx.save(model, folder / "text.onnx")
    record(tokenizer)
    record(folder / "text.onnx")
    return folder / "text.onnx"
