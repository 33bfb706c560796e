"""What energy.onnx computes."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ssl_pipeline.deployment.energy_graph import export_energy, prove_energy
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.parts.heads import CosineEnergy, ProjectedEnergy, mlp
from ssl_pipeline.types import Loss
from tests.deployment.conftest import Images, Model
from tests.factories import digit_images


@pytest.fixture(scope="module")
def energy(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("energy") / "energy.onnx"
    export_energy(model.encoder, CosineEnergy(), model.card, path, opset=18)
    return path


def test_either_image_of_a_pair_must_have_pixels(energy: Path):
    session, whole, empty = open_session(energy), digit_images(1), np.zeros((1, 8, 0, 3), np.uint8)
    for pair, name in (((whole, empty), "second"), ((empty, whole), "first")):
        with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match=f"{name}_must_have_pixels"):
            session.run(None, dict(zip(("first", "second"), pair, strict=True)))


@pytest.mark.parametrize(("first", "second"), [((1, 8, 8, 3), (1, 8, 8, 3)), ((7, 30, 9, 3), (7, 5, 40, 3))])
def test_energy_is_minus_the_cosine_where_the_task_trained_none(
    model: Model, energy: Path, first: tuple[int, ...], second: tuple[int, ...]
):
    generator = np.random.default_rng(0)
    pair = [generator.integers(0, 256, shape).astype(np.uint8) for shape in (first, second)]
    session = open_session(energy)
    with torch.inference_mode():
        model_of = FromPixels(model.card, embedding(model.encoder, l2_normalize=True)).eval()
        unit = [model_of(torch.from_numpy(images)).numpy() for images in pair]
    np.testing.assert_allclose(run(session, *pair), -(unit[0] * unit[1]).sum(axis=1), atol=1e-6)
    assert [node.name for node in session.get_inputs()] == ["first", "second"]
    assert [node.name for node in session.get_outputs()] == ["energy"]
    metadata = read_metadata(session)
    assert metadata["energy"] == "negative_cosine_of_embeddings"
    assert json.loads(metadata["embedding_dim"]) == 16
    assert metadata["weights_sha256"] == model.card.weights_sha256


class Distance(Loss):
    energy_name = "distance"

    def energy(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first - second).square().sum(dim=1)

    def forward(self, *_: object) -> None:  # type: ignore[override]
        raise NotImplementedError


def test_a_trained_energy_acts_on_embeddings_that_are_not_normalised(
    model: Model, originals: list[Images], tmp_path: Path
):
    torch.manual_seed(0)
    head = ProjectedEnergy(mlp([16, 8, 4]), Distance()).eval()
    path = tmp_path / "energy.onnx"
    export_energy(model.encoder, head, model.card, path, opset=18)
    session = open_session(path)
    assert read_metadata(session)["energy"] == "distance_of_projections"
    first, second = digit_images(3), digit_images()[3:6]
    with torch.inference_mode():
        embed = FromPixels(model.card, model.encoder).eval()
        expected = head(embed(torch.from_numpy(first)), embed(torch.from_numpy(second))).numpy()
    np.testing.assert_allclose(run(session, first, second), expected, rtol=1e-4, atol=1e-6)

    assert prove_energy(path, model.encoder, head, model.card, originals).max_difference < 1e-4
    other = ProjectedEnergy(mlp([16, 8, 4]), Distance()).eval()
    with pytest.raises(PipelineError, match=r"energy\.onnx does not compute(?s:.*)torch and onnxruntime differ: "):
        prove_energy(path, model.encoder, other, model.card, originals)


def test_energies_that_are_not_finite_are_refused(model: Model, energy: Path, originals: list[Images], tmp_path: Path):
    graph = onnx.load(energy)
    for node in graph.graph.node:
        node.output[:] = ["inner" if name == "energy" else name for name in node.output]
    graph.graph.node.append(onnx.helper.make_node("Log", ["inner"], ["energy"]))  # the logarithm of negative numbers
    onnx.save(graph, tmp_path / "nan.onnx")
    with pytest.raises(PipelineError, match="[0-9]+ of onnxruntime's values are NaN or infinite, but torch's are not"):
        prove_energy(tmp_path / "nan.onnx", model.encoder, CosineEnergy(), model.card, originals)
