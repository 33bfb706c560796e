"""One proof for all graphs: each bound is judged in its own unit, and each violation is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from ssl_pipeline.deployment.bounds import Bounds
from ssl_pipeline.deployment.proof import Reference, compare, in_torch, prove
from ssl_pipeline.errors import PipelineError

ROWS = {
    "small": (np.array([[0.1, 0.2], [0.3, 0.1]], np.float32),),
    "large": (np.array([[10.0, 20.0]], np.float32),),
}
STRICT = Bounds(1e-4, "row", min_cosine=0.99999, max_row_difference=1e-4, min_variation=1e-3)

Graph = Callable[..., Path]


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """Return a function that writes a graph of nodes from `rows` to `answers`; without nodes, it copies its input."""

    def make(*nodes: onnx.NodeProto) -> Path:
        shape = ["n", 2]
        taken, given = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("rows", "answers"))
        steps = list(nodes) or [helper.make_node("Identity", ["rows"], ["answers"])]
        model = helper.make_model(
            helper.make_graph(steps, "graph", [taken], [given]), opset_imports=[helper.make_opsetid("", 18)]
        )
        model.ir_version = 10
        onnx.save(model, tmp_path / "graph.onnx")
        return tmp_path / "graph.onnx"

    return make


def plus(difference: float) -> Reference:
    return in_torch(lambda rows: rows + difference)


def test_a_graph_that_computes_the_same_passes_with_its_figures(graph: Graph):
    proof = prove(graph(), plus(0.0), ROWS, STRICT, "mend it.")
    assert (proof.max_difference, proof.row_difference, proof.non_finite) == (0.0, 0.0, (0, 0))
    assert proof.min_cosine == 1.0
    assert proof.variation == pytest.approx(np.std([0.2, 0.1, 20.0]) / 20.0)
    assert proof.reference == "torch"
    assert "CPUExecutionProvider" in proof.providers


@pytest.mark.parametrize(
    ("scale", "expected"), [("row", 0.01 / 0.21), ("batch", 0.01 / 0.31), ("all", 0.01 / 20.01), ("one", 0.01)]
)
def test_a_difference_is_measured_in_the_unit_of_its_bound(graph: Graph, scale: str, expected: float):
    proof = compare(graph(), plus(0.01), ROWS, Bounds(expected * 1.01, scale))
    assert proof.max_difference == pytest.approx(expected, rel=1e-4)
    assert proof.broken("mend it.") == []
    with pytest.raises(PipelineError) as refusal:
        prove(graph(), plus(0.01), ROWS, Bounds(expected * 0.99, scale), "mend it.")
    unit = "" if scale == "one" else " of the largest component"
    assert str(refusal.value).startswith(
        "graph.onnx does not compute what torch computes, and is discarded:\n- torch and"
    )
    assert f"{expected:.1e}{unit}, bound" in str(refusal.value)
    assert str(refusal.value).endswith(": mend it.")


def test_rows_that_point_elsewhere_are_refused_though_they_are_near(graph: Graph):
    turned = in_torch(lambda rows: rows + torch.tensor([1e-3, -1e-3]))
    with pytest.raises(PipelineError, match=r"smallest cosine 0\.99[0-9]+, bound 0\.99999"):
        prove(graph(), turned, ROWS, Bounds(1.0, "row", min_cosine=0.99999), "mend it.")


def test_what_does_not_vary_proves_nothing_and_what_varies_are_the_batches_that_are_named(graph: Graph):
    same = {"one": (np.ones((3, 2), np.float32),), "two": (np.full((3, 2), 2, np.float32),)}
    prove(graph(), plus(0.0), same, STRICT, "mend it.")
    with pytest.raises(PipelineError, match=r"outputs do not vary: std over different images 0\.0e\+00"):
        prove(graph(), plus(0.0), same, STRICT, "mend it.", varied=["two"])


def test_probabilities_vary_in_their_logarithms(graph: Graph):
    sure = {"sure": (np.array([[1.0, 1e-8], [1.0, 1e-3]], np.float32),)}
    rows = Bounds(1e-4, "row", min_variation=0.1)
    with pytest.raises(PipelineError, match="outputs do not vary"):
        prove(graph(), plus(0.0), sure, rows, "mend it.")
    prove(graph(), plus(0.0), sure, Bounds(1e-4, "row", min_variation=0.1, varies="logarithms"), "mend it.")


def test_rows_that_depend_on_their_batch_are_refused_though_torch_does_the_same(graph: Graph):
    mixing = [
        helper.make_node("ReduceMax", ["rows"], ["largest"], keepdims=1),
        helper.make_node("Div", ["rows", "largest"], ["answers"]),
    ]
    torch_does = in_torch(lambda rows: rows / rows.max())
    with pytest.raises(PipelineError, match="rows depend on their batch") as refusal:
        prove(graph(*mixing), torch_does, ROWS, STRICT, "mend it.")
    assert str(refusal.value).count("\n- ") == 1  # this is the only problem
    prove(graph(*mixing), torch_does, ROWS, Bounds(1e-4, "row"), "mend it.")  # no bound forbids it


def test_values_that_are_not_finite_are_counted_on_the_side_that_has_them(graph: Graph):
    logarithm = graph(helper.make_node("Log", ["rows"], ["answers"]))
    below = {"below": (np.array([[-1.0, 1.0]], np.float32),)}
    with pytest.raises(PipelineError, match="1 of onnxruntime's values are NaN or infinite, but torch's .* mend it"):
        prove(logarithm, plus(0.0), below, STRICT, "mend it.")
    with pytest.raises(PipelineError, match="1 of torch's values are NaN or infinite: training diverged"):
        prove(logarithm, in_torch(torch.log), below, STRICT, "mend it.")


def test_answers_of_another_shape_differ(graph: Graph):
    proof = compare(graph(), in_torch(lambda rows: rows[:, :1]), ROWS, STRICT)
    (problem,) = proof.broken("mend it.")
    assert problem.startswith("- torch and onnxruntime differ: inf of the largest component")


def test_any_of_several_right_answers_will_do_value_by_value(graph: Graph):
    left, right = torch.tensor([0.5, 0.0]), torch.tensor([0.0, 0.5])
    either = in_torch(lambda rows: rows + left, lambda rows: rows + right)
    assert compare(graph(), either, ROWS, Bounds(1e-6, "one")).max_difference == 0.0
    assert compare(graph(), plus(0.5), ROWS, Bounds(1e-6, "one")).max_difference == pytest.approx(0.5)
