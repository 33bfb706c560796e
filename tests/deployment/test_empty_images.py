"""The graph itself refuses a height or width of 0 in each runtime; all other images pass as if there were no gate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from ssl_pipeline.deployment.classifier_graph import append_classifier
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from tests.deployment.conftest import Images, Model

Run = Callable[..., np.ndarray]
EMPTY = [(2, 0, 8, 3), (2, 8, 0, 3), (1, 0, 0, 3)]
PROVIDERS = ["CPUExecutionProvider"]


def in_onnxruntime(path: Path) -> Run:
    session = onnxruntime.InferenceSession(path, providers=PROVIDERS)
    names = [node.name for node in session.get_inputs()]
    return lambda *images: session.run(None, dict(zip(names, images, strict=True)))[0]


def in_the_reference(path: Path) -> Run:
    evaluator = ReferenceEvaluator(str(path))
    return lambda *images: evaluator.run(None, dict(zip(evaluator.input_names, images, strict=True)))[0]


def refuses(run: Run, error: type[Exception] | tuple[type[Exception], ...], *images: Images) -> str:
    with pytest.raises(error) as caught:
        run(*images)
    return str(caught.value)


def test_torch_refuses(model: Model) -> None:
    embed = FromPixels(model.card, embedding(model.encoder, l2_normalize=True)).eval()
    for shape in EMPTY:
        message = refuses(lambda images: embed(torch.from_numpy(images)), ValueError, np.zeros(shape, np.uint8))
        assert message == f"images must have pixels, got {shape}"


@pytest.mark.parametrize("shape", EMPTY)
def test_onnxruntime_and_the_reference_refuse(shape: tuple[int, ...], model: Model, tmp_path: Path) -> None:
    classifier = tmp_path / "classifier.onnx"
    append_classifier(model.backbone, np.zeros((2, 16)), np.zeros(2), ["a", "b"], classifier)
    empty = np.zeros(shape, np.uint8)
    for path in (model.backbone, classifier):
        message = refuses(in_onnxruntime(path), onnxruntime.capi.onnxruntime_pybind11_state.Fail, empty)
        assert "images_must_have_pixels" in message
        assert f"Input shape:{{{','.join(map(str, shape))}}}" in message
        refuses(in_the_reference(path), ValueError, empty)


def test_images_with_pixels_pass_as_if_there_were_no_gate(model: Model, tmp_path: Path) -> None:
    graph = onnx.load(model.backbone)
    gate = [node for node in graph.graph.node if node.name in ("images_shape", "images_needed_shape")]
    (last,) = [node for node in graph.graph.node if node.name == "images_must_have_pixels"]
    assert len(gate) == 2
    for node in [*gate, last]:
        graph.graph.node.remove(node)
    for node in graph.graph.node:
        node.input[:] = ["images" if name == last.output[0] else name for name in node.input]
    onnx.save(graph, tmp_path / "open.onnx")
    gated, ungated = in_onnxruntime(model.backbone), in_onnxruntime(tmp_path / "open.onnx")
    for shape in ((1, 1, 1, 3), (3, 5, 40, 3), (2, 16, 16, 3)):
        images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        np.testing.assert_array_equal(gated(images), ungated(images))
    assert gated(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, 16)
    assert np.isfinite(ungated(np.zeros((2, 0, 8, 3), np.uint8))).all()  # without the gate, it has an embedding
