"""A graph is kept only if it computes what was trained; each way in which it may fail to is refused and named."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from onnx import helper, numpy_helper

from ssl_pipeline.deployment import parity
from ssl_pipeline.deployment.classifier_graph import append_classifier
from ssl_pipeline.deployment.rebuilt import answer
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.loading import load_registry
from tests.deployment.conftest import REPLAY, Images, Model


@pytest.fixture(scope="module")
def replay(model: Model, originals: list[Images], make_replay: Callable[..., list[str]]) -> list[str]:
    return make_replay(model.folder, model.card, originals, l2_normalize=True)


def changed(model: Model, path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    graph = onnx.load(model.backbone)
    change(graph)
    onnx.save(graph, path)
    return path


def behind(model: Model, path: Path, *nodes: onnx.NodeProto) -> Path:
    """Write the backbone's graph with further nodes that lead from `inner` to `embedding`."""

    def append(graph: onnx.ModelProto) -> None:
        for node in graph.graph.node:
            node.output[:] = ["inner" if name == "embedding" else name for name in node.output]
        graph.graph.node.extend(nodes)

    return changed(model, path, append)


def test_what_was_trained_passes_with_figures(model: Model, originals: list[Images], command: list[str]):
    figures = parity.verify(model.backbone, originals, command)
    assert figures["max_difference"] < 1e-5
    assert figures["row_difference"] < 1e-5
    assert figures["min_cosine"] > 0.999999
    assert figures["variation"] > 0.01
    assert figures["originals"] == 7
    assert figures["batch_sizes"] == [1, 2, 7]
    assert {"427x640", "427x200", "8x8", "16x16", "1x1", "8x49", "33x5"} == set(figures["shapes"])
    assert "CPUExecutionProvider" in figures["providers"]
    json.dumps(figures)


def test_the_probes_hold_what_the_proof_promises(originals: list[Images]):
    probes = parity.probes(originals, 16)
    assert all(batch.dtype == np.uint8 and batch.ndim == 4 for batch in probes.values())
    np.testing.assert_array_equal(probes["original/0"], originals[0][None])
    assert (probes["grey"] == probes["grey"][..., :1]).all()
    assert len(probes["batch/2"]) == 2
    assert len({row.tobytes() for row in probes["batch/7"]}) == 7


def test_a_changed_weight_is_refused(model: Model, originals: list[Images], replay: list[str], tmp_path: Path):
    def tamper(graph: onnx.ModelProto) -> None:
        weight = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = numpy_helper.to_array(weight).copy()
        values.flat[values.size // 2] += 0.01
        weight.raw_data = values.tobytes()

    assert parity.verify(changed(model, tmp_path / "same.onnx", lambda graph: None), originals, replay)
    with pytest.raises(
        PipelineError, match=r"tampered\.onnx does not compute what torch computes.*\n- torch and onnxruntime differ"
    ):
        parity.verify(changed(model, tmp_path / "tampered.onnx", tamper), originals, replay)


def test_a_lie_about_normalisation_is_refused(
    model: Model, originals: list[Images], command: list[str], tmp_path: Path
):
    def lie(graph: onnx.ModelProto) -> None:
        next(entry for entry in graph.metadata_props if entry.key == "l2_normalized").value = "false"

    with pytest.raises(PipelineError, match="torch and onnxruntime differ"):
        parity.verify(changed(model, tmp_path / "lie.onnx", lie), originals, command)


def test_rows_that_depend_on_their_batch_are_refused(
    model: Model, originals: list[Images], replay: list[str], tmp_path: Path
):
    path = behind(
        model,
        tmp_path / "mixing.onnx",
        helper.make_node("ReduceMax", ["inner"], ["largest"], keepdims=1),  # over all axes, including the batch
        helper.make_node("Div", ["inner", "largest"], ["embedding"]),
    )
    with pytest.raises(PipelineError, match="rows depend on their batch"):
        parity.verify(path, originals, replay)


def test_constant_embeddings_are_refused_though_torch_agrees(model: Model, originals: list[Images], tmp_path: Path):
    path = behind(
        model,
        tmp_path / "constant.onnx",
        helper.make_node("Sub", ["inner", "inner"], ["nothing"]),
        helper.make_node("Cos", ["nothing"], ["embedding"]),
    )
    probes = parity.probes(originals, 16)
    np.savez(tmp_path / "ones.npz", **{name: np.ones((len(batch), 16), np.float32) for name, batch in probes.items()})
    with pytest.raises(PipelineError) as refusal:
        parity.verify(path, originals, [sys.executable, "-c", REPLAY, str(tmp_path / "ones.npz")])
    assert str(refusal.value).count("\n- ") == 1  # this is the only problem
    assert "outputs do not vary: std over different images 0.0e+00" in str(refusal.value)


def test_values_that_are_not_finite_are_refused(
    model: Model, originals: list[Images], replay: list[str], tmp_path: Path
):
    path = behind(model, tmp_path / "nan.onnx", helper.make_node("Log", ["inner"], ["embedding"]))
    with pytest.raises(PipelineError, match=r"- [1-9]\d* of onnxruntime's values are NaN or infinite, but torch's are"):
        parity.verify(path, originals, replay)
    answers = {name: np.full((len(batch), 16), np.nan) for name, batch in parity.probes(originals, 16).items()}
    np.savez(tmp_path / "nan.npz", **answers)
    with pytest.raises(PipelineError, match=r"of torch's values are NaN or infinite: training diverged"):
        parity.verify(path, originals, [sys.executable, "-c", REPLAY, str(tmp_path / "nan.npz")])


def test_a_reference_that_fails_is_no_proof(model: Model, originals: list[Images]):
    with pytest.raises(subprocess.CalledProcessError):
        parity.verify(model.backbone, originals, [sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.parametrize("sureness", [1.0, 20.0])
def test_the_same_gate_serves_classifiers(
    model: Model, originals: list[Images], command: list[str], tmp_path: Path, sureness: float
):
    """They may be so certain that all images get the same probabilities to within 1e-8."""
    generator = torch.Generator().manual_seed(0)
    head = {"weight": torch.randn(3, 16, generator=generator), "bias": torch.tensor([sureness, 0.0, 0.0])}
    folder = tmp_path / "finetune"
    folder.mkdir()
    for name in ("encoder.safetensors", "model.json", "digests.json"):
        (folder / name).write_bytes((model.folder / name).read_bytes())
    safetensors.torch.save_file(head, folder / "head.safetensors")
    path = folder / "classifier.onnx"
    append_classifier(model.backbone, head["weight"].numpy(), head["bias"].numpy(), ["a", "b", "c"], path)
    registry = load_registry()
    np.savez(tmp_path / "inputs.npz", **parity.probes(originals, 16))
    answer(registry, folder, tmp_path / "inputs.npz", tmp_path / "answers.npz", layer=None, l2_normalize=True)
    figures = parity.verify(path, originals, [sys.executable, "-c", REPLAY, str(tmp_path / "answers.npz")])
    assert figures["max_difference"] < 1e-5

    append_classifier(model.backbone, -head["weight"].numpy(), head["bias"].numpy() / sureness, ["a", "b", "c"], path)
    with pytest.raises(PipelineError, match="differ"):
        parity.verify(path, originals, [sys.executable, "-c", REPLAY, str(tmp_path / "answers.npz")])


def test_canvases_are_held_against_originals(model: Model, originals: list[Images]):
    sixteen = [np.ascontiguousarray(image[:8, :8]) for image in originals]
    same = parity.canvas_agreement(model.backbone, sixteen, np.stack(sixteen))
    assert same["min"] == pytest.approx(1.0, abs=1e-6)
    swapped = parity.canvas_agreement(model.backbone, sixteen, np.stack(sixteen)[::-1])
    assert swapped["min"] < swapped["mean"] < 1.0
