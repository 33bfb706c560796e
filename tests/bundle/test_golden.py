"""Golden outputs, and how far a graph may deviate from them on another machine."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssl_pipeline.bundle.golden import EXACT, Golden, golden_of, precision_of
from ssl_pipeline.bundle.verify import BundleError, check_graph, choose_providers, compare
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.deployment import runtime
from ssl_pipeline.errors import PipelineError
from tests.bundle.small_models import DIM, metadata, write_graph


def quantised(path: Path, step: float) -> Path:
    """Write the small graph with its product rounded to multiples of a step."""
    write_graph(path)
    model = onnx.load(path)
    last = model.graph.node[-1]
    rounded = [
        helper.make_node("QuantizeLinear", ["product", "step", "middle"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "step", "middle"], ["rounded"]),
    ]
    last.input[0] = "rounded"
    kept = [*list(model.graph.node)[:-1], *rounded, last]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    constants = {"step": np.float32(step), "middle": np.int8(0)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    onnx.save(model, path)
    return path


def test_a_graph_of_fewer_bits_may_be_as_far_from_itself_as_twice_what_it_is_from_float32(tmp_path: Path):
    write_graph(tmp_path / "backbone.onnx")
    exact = golden_of(tmp_path / "backbone.onnx")
    assert (exact.precision, exact.tolerance) == ("fp32", EXACT)
    coarse, fine = (golden_of(quantised(tmp_path / f"{step}.onnx", step), exact) for step in (0.04, 0.02))
    assert coarse.precision == fine.precision == "int8"
    assert 0.01 < fine.tolerance.max_difference < coarse.tolerance.max_difference < 0.1
    assert 0.99 < coarse.tolerance.min_cosine < fine.tolerance.min_cosine < 1
    far = max(
        np.abs(coarse.arrays[f"0.04.onnx/{case}/embedding"] - exact.arrays[f"backbone.onnx/{case}/embedding"]).max()
        / np.abs(exact.arrays[f"backbone.onnx/{case}/embedding"]).max()
        for case in range(3)
    )
    assert coarse.tolerance.max_difference > 1.5 * far


@pytest.mark.parametrize("step", [0.02, 0.15])
def test_a_graph_that_answers_the_same_to_everything_is_refused_however_coarse_it_is(tmp_path: Path, step: float):
    write_graph(tmp_path / "backbone.onnx")
    golden = golden_of(quantised(tmp_path / "coarse.onnx", step), golden_of(tmp_path / "backbone.onnx"))
    rows = np.concatenate([golden.arrays[f"coarse.onnx/{case}/embedding"] for case in range(3)])
    apart = [compare(one[None], other[None])[0] for one in rows for other in rows if one is not other]
    assert golden.tolerance.max_difference <= 0.51 * min(distance for distance in apart if distance > 0)
    nodes = [
        helper.make_node("Shape", ["images"], ["number"], end=1),
        helper.make_node("Concat", ["number", "dim"], ["shape"], axis=0),
        helper.make_node("Expand", ["row", "shape"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", DIM])],
        [numpy_helper.from_array(rows[0], "row"), numpy_helper.from_array(np.array([DIM]), "dim")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "constant.onnx")
    with pytest.raises(BundleError, match="computes something else here: case 0, embedding"):
        check_graph(tmp_path / "constant.onnx", golden.contents(), golden.arrays, choose_providers("cpu"))


def test_a_graph_that_computes_the_same_for_all_images_cannot_be_proved_but_one_of_classes_may_be_sure(tmp_path: Path):
    write_graph(tmp_path / "backbone.onnx", scale=0.0)
    with pytest.raises(PipelineError, match=r"backbone.onnx returns nearly the same values for different images"):
        golden_of(tmp_path / "backbone.onnx")
    write_graph(tmp_path / "classifier.onnx", output="probabilities", dim=2, scale=0.0)
    assert golden_of(tmp_path / "classifier.onnx").tolerance == EXACT


def test_golden_outputs_come_from_the_cpu_whatever_else_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_graph(tmp_path / "backbone.onnx")
    asked: list[str] = []
    real = runtime.wanted
    monkeypatch.setattr(runtime, "wanted", lambda provider, threads: asked.append(provider) or real("cpu", threads))
    golden_of(tmp_path / "backbone.onnx")
    assert asked == ["cpu"]


def test_golden_images_of_a_large_model_are_of_moderate_size(tmp_path: Path):
    write_graph(tmp_path / "backbone.onnx", size="512")
    arrays = golden_of(tmp_path / "backbone.onnx").arrays
    shapes = {array.shape for name, array in arrays.items() if name.startswith("inputs/")}
    assert shapes == {(3, 128, 128, 3), (1, 65, 257, 3), (2, 259, 128, 3)}


def test_weights_of_half_precision_make_a_graph_one_of_half_precision():
    weight = numpy_helper.from_array(np.ones(2, np.float16), "w")
    assert precision_of(onnx.ModelProto(graph=onnx.GraphProto(initializer=[weight]))) == "fp16"


@pytest.mark.parametrize(("number", "numbers"), [("N", {3, 1, 2}), (4, {4})])
def test_a_graph_of_normalised_images_gets_such_and_maps_are_thinned_out(
    tmp_path: Path, number: str | int, numbers: set[int]
):
    side = 64
    graph = helper.make_graph(
        [helper.make_node("Tanh", ["normalised"], ["maps"])],
        "core",
        [helper.make_tensor_value_info("normalised", TensorProto.FLOAT, [number, 24, side, side])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, [number, 24, side, side])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, metadata(RGB8))
    onnx.save(model, tmp_path / "core.onnx")
    golden: Golden = golden_of(tmp_path / "core.onnx")
    inputs = [golden.arrays[case["inputs"]["normalised"]] for case in golden.cases]
    assert {array.shape for array in inputs} == {(count, 24, side, side) for count in numbers}
    assert -2 <= min(array.min() for array in inputs) < -1.5
    assert golden.every == {"maps": 5}
    assert golden.arrays["core.onnx/0/maps"].shape[1] == -(-24 * side * side // 5) <= 20_000
