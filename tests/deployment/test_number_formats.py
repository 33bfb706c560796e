"""Networks in half precision and in integers, and what their files say about them, on small graphs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ssl_pipeline.config import load
from ssl_pipeline.deployment.classifier_graph import append_classifier
from ssl_pipeline.deployment.gate import agreement, row_difference
from ssl_pipeline.deployment.halves import FITTED, before_weights, behind_weights, joined, split
from ssl_pipeline.deployment.number_formats import half, integers
from ssl_pipeline.deployment.onnx_file import write_proto
from ssl_pipeline.errors import PipelineError
from tests.deployment.graphs import convolved, onnx_session, products

ROOT = Path(__file__).parents[2]


def unasked() -> Sequence[Any]:
    raise AssertionError("a dynamic network is not calibrated")


def test_int8_of_matrix_products_is_dynamic():
    network = products("MatMul", "Relu", "MatMul")
    made, activations = integers(network, unasked, "minmax")
    assert activations == "dynamic"
    assert [node.op_type for node in made.graph.node].count("MatMulInteger") == 2
    images = np.random.default_rng(1).random((20, 3, 2, 2)).astype(np.float32)
    exact, found = (onnx_session(one).run(None, {FITTED: images})[0] for one in (network, made))
    assert 0 < np.abs(exact - found).max() < 0.05 * np.abs(exact).max()


def test_dynamic_int8_depends_on_the_batch_and_the_gate_measures_how_much(tmp_path: Path):
    network = products("MatMul", "Relu", "MatMul")
    images = np.random.default_rng(1).random((20, 3, 2, 2)).astype(np.float32)
    images[0] *= 0.2  # a dark image
    found = {}
    for name, graph in (("fp32", network), ("int8", integers(network, unasked, "minmax")[0])):
        onnx.save(graph, tmp_path / f"{name}.onnx")
        found[name] = row_difference(tmp_path / f"{name}.onnx", images)
    session = onnx_session(onnx.load(tmp_path / "int8.onnx"))
    beside, alone = (session.run(None, {FITTED: part})[0][0] for part in (images, images[:1]))
    assert found["fp32"] < 1e-5
    assert found["int8"] >= np.abs(beside - alone).max() / np.abs(alone).max() > 0.01
    assert row_difference(tmp_path / "int8.onnx", images[:1]) == 0
    kept = replace(agreement(np.eye(60, dtype=np.float32), np.eye(60, dtype=np.float32), 0.3), row_difference=0.06)
    assert kept.broken(load(ROOT / "params.yaml").export.gate.int8) == [
        "max_row_difference: 0.06, bound 0.05, missed by 0.01"
    ]


def test_numbers_that_parts_of_a_graph_share_are_converted_where_they_have_to_be():
    draw = np.random.default_rng(0).normal(size=(2, 3, 3, 1, 1)).astype(np.float32)
    values = {"c": np.full((1, 3, 1, 1), 0.7, np.float32), "w0": draw[0], "w1": draw[1]}
    steps = (("Mul", "c"), ("Conv", "w0"), ("Mul", "c"), ("Conv", "w1"), ("Mul", "c"))
    names = [FITTED, "x0", "x1", "x2", "x3", "embedding"]
    nodes = [
        helper.make_node(kind, [names[place], value], [names[place + 1]], name=f"node{place}")
        for place, (kind, value) in enumerate(steps)
    ]
    images = np.random.default_rng(1).random((2, 3, 4, 4)).astype(np.float32)
    whole = convolved(nodes, values)
    exact, found = (onnx_session(one).run(None, {FITTED: images})[0] for one in (whole, half(whole)))
    np.testing.assert_allclose(found, exact, atol=2e-3)
    front = helper.make_node("Mul", ["images", "c"], [FITTED], name="front")
    model = convolved([front, *nodes], values, given="images")
    model.graph.value_info.append(helper.make_tensor_value_info(FITTED, TensorProto.FLOAT, ["batch", 3, 4, 4]))
    again = joined(split(model))
    exact, found = (onnx_session(one).run(None, {"images": images})[0] for one in (model, again))
    np.testing.assert_array_equal(found, exact)


def test_a_bias_that_nodes_share_is_copied_under_a_name_that_nothing_else_has():
    """The first copy of `b1` would be called `b10`, which is already the output of a node, as in PoolFormer."""
    draw = np.random.default_rng(0)
    values = {"w0": draw.normal(size=(3, 3, 1, 1)), "w1": draw.normal(size=(3, 3, 1, 1)), "b1": np.array([0.5, -1, 2])}
    nodes = [
        helper.make_node("Conv", [FITTED, "w0", "b1"], ["b10"], name="first"),
        helper.make_node("Conv", ["b10", "w1", "b1"], ["embedding"], name="second"),
    ]
    network = convolved(nodes, {name: array.astype(np.float32) for name, array in values.items()})
    images = draw.random((50, 3, 4, 4)).astype(np.float32)
    made, _ = integers(network, lambda: [images], "minmax")
    exact, found = (onnx_session(one).run(None, {FITTED: images})[0] for one in (network, made))
    assert 0 < np.abs(exact - found).max() < 0.05 * np.abs(exact).max()


def test_attention_in_float16_stays_near():
    draw = np.random.default_rng(0)
    values: dict[str, np.ndarray] = {
        name: (draw.normal(size=(8, 8)) / 8**0.5).astype(np.float32) for name in ("query", "key", "value", "out")
    }
    values |= {
        "patches": draw.normal(size=(8, 3, 2, 2)).astype(np.float32),
        "tokens": np.array([0, 8, 4]),
        "scale": np.ones(8, np.float32),
        "bias": np.zeros(8, np.float32),
        "axes": np.array([1]),
    }
    calls = [
        ("Conv", [FITTED, "patches"], "maps", {"strides": [2, 2]}),
        ("Reshape", ["maps", "tokens"], "rows", {}),
        ("Transpose", ["rows"], "x", {"perm": [0, 2, 1]}),
        ("LayerNormalization", ["x", "scale", "bias"], "normal", {}),
        *[("MatMul", ["normal", name], f"{name}s", {}) for name in ("query", "key", "value")],
        ("Transpose", ["keys"], "turned", {"perm": [0, 2, 1]}),
        ("MatMul", ["querys", "turned"], "scores", {}),
        ("Softmax", ["scores"], "shares", {"axis": -1}),
        ("MatMul", ["shares", "values"], "mixed", {}),
        ("MatMul", ["mixed", "out"], "seen", {}),
        ("Add", ["x", "seen"], "sum", {}),
        ("ReduceMean", ["sum", "axes"], "embedding", {"keepdims": 0}),
    ]
    nodes = [helper.make_node(kind, given, [made], name=made, **more) for kind, given, made, more in calls]
    images = draw.random((5, 3, 4, 4)).astype(np.float32)
    network = convolved(nodes, values, made=(8,))
    converted = half(network)
    assert {one.data_type for one in converted.graph.initializer if one.name in ("query", "out")} == {
        TensorProto.FLOAT16
    }
    exact, found = (onnx_session(one).run(None, {FITTED: images})[0] for one in (network, converted))
    assert 0 < np.abs(exact - found).max() < 0.005 * np.abs(exact).max()


def test_an_operator_that_a_tool_does_not_know_is_named():
    with pytest.raises(PipelineError) as caught:
        half(products("Frobnicate", "MatMul"))
    assert "cannot write this backbone as fp16, because of Flatten, Frobnicate, MatMul: " in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_stands_before_and_behind_weights():
    graph = products("Abs", "MatMul", "Relu", "MatMul", "Abs", "Abs").graph
    assert before_weights(graph) == ["flatten", "node0"]
    assert sorted(behind_weights(graph)) == ["node4", "node5"]
    network = products("Abs", "MatMul", "Relu", "MatMul", "Abs")
    made = half(network)
    kinds = [node.op_type for node in made.graph.node]
    assert kinds == ["Flatten", "Abs", "Cast", "MatMul", "Relu", "MatMul", "Cast", "Abs"]


def test_a_classifier_does_not_inherit_thresholds_of_embeddings(tmp_path: Path):
    path, metadata = tmp_path / "classifier.onnx", {"licence": "MIT", "thresholds": '{"novel": {"cosine": 0.5}}'}
    write_proto(products("MatMul"), tmp_path / "backbone.onnx", metadata)
    append_classifier(tmp_path / "backbone.onnx", np.zeros((2, 12)), np.zeros(2), ["a", "b"], path)
    said = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert (said["licence"], said.get("thresholds")) == ("MIT", None)
