"""Energies of pairs: what energy.onnx computes, and how well it tells positive pairs from random ones."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from ssl_pipeline.augment.policy import Policies, Policy
from ssl_pipeline.data.store import Split, open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.deployment.energy import auroc, auroc_interval, measure, verify_energy
from ssl_pipeline.deployment.export import export_energy
from ssl_pipeline.deployment.graph import PixelsToEmbedding, PixelsToEnergy
from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.parts.heads import CosineEnergy, ProjectedEnergy, mlp
from ssl_pipeline.types import Loss
from tests.deployment.conftest import Images, Model, digits

GENTLE = {"random_resized_crop": {"p": 1.0, "scale": [0.8, 1.0], "ratio": [0.9, 1.1]}}
WILD = {"random_resized_crop": {"p": 1.0, "scale": [0.01, 0.02], "ratio": [0.5, 2.0]}}


def policies(options: dict[str, object]) -> Policies:
    views = {"global": Policy.model_validate({"size": 16, **options})}
    return Policies(canvas=8, resize="squash", background=(0, 0, 0), seed=0, views=views)


def split(folder: Path, count: int) -> Split:
    images = digits()[:count]
    write_split(folder / "val", np.arange(count, dtype=np.uint64) * 2**40, [images], 8)
    return open_split(folder, "val")


@pytest.fixture(scope="module")
def energy(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("energy") / "energy.onnx"
    export_energy(model.encoder, CosineEnergy(), model.card, path, opset=18)
    return path


def test_either_image_of_a_pair_must_have_pixels(energy: Path):
    session, whole, empty = open_session(energy), digits()[:1], np.zeros((1, 8, 0, 3), np.uint8)
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
        model_of = PixelsToEmbedding(model.encoder, model.card, l2_normalize=True).eval()
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
    first, second = digits()[:3], digits()[3:6]
    with torch.inference_mode():
        embed = PixelsToEmbedding(model.encoder, model.card, l2_normalize=False).eval()
        expected = head(embed(torch.from_numpy(first)), embed(torch.from_numpy(second))).numpy()
    np.testing.assert_allclose(run(session, first, second), expected, rtol=1e-4, atol=1e-6)

    assert verify_energy(path, PixelsToEnergy(model.encoder, model.card, head).eval(), originals) < 1e-4
    other = ProjectedEnergy(mlp([16, 8, 4]), Distance()).eval()
    with pytest.raises(PipelineError, match=r"energy\.onnx: torch and onnxruntime differ by"):
        verify_energy(path, PixelsToEnergy(model.encoder, model.card, other).eval(), originals)


def test_energies_that_are_not_finite_are_refused(model: Model, energy: Path, originals: list[Images], tmp_path: Path):
    graph = onnx.load(energy)
    for node in graph.graph.node:
        node.output[:] = ["inner" if name == "energy" else name for name in node.output]
    graph.graph.node.append(onnx.helper.make_node("Log", ["inner"], ["energy"]))  # of numbers below 0
    onnx.save(graph, tmp_path / "nan.onnx")
    with pytest.raises(PipelineError, match="differ by nan"):
        verify_energy(tmp_path / "nan.onnx", PixelsToEnergy(model.encoder, model.card, CosineEnergy()), originals)


def test_the_auroc_is_scikit_learns_ties_included():
    generator = np.random.default_rng(0)
    positive, negative = (generator.integers(low, low + 9, 50).astype(np.float32) for low in (0, 3))
    labels = np.repeat([1, 0], 50)
    assert auroc(positive, negative) == pytest.approx(roc_auc_score(labels, -np.concatenate([positive, negative])))
    assert auroc(np.zeros(5, np.float32), np.zeros(5, np.float32)) == 0.5


def test_the_interval_of_the_auroc_covers_near_one_where_a_bootstrap_does_not():
    generator, n, gap = np.random.default_rng(0), 40, 3.0
    true = norm.cdf(gap / np.sqrt(2))  # of two normal distributions: 0.983
    ours, theirs = 0, 0
    for _ in range(200):
        positive, negative = generator.normal(0, 1, n), generator.normal(gap, 1, n)
        low, high = auroc_interval(auroc(positive, negative), n, n)
        ours += low <= true <= high
        drawn = generator.integers(0, n, (100, 2, n))
        areas = [auroc(positive[rows[0]], negative[rows[1]]) for rows in drawn]
        theirs += np.percentile(areas, 2.5) <= true <= np.percentile(areas, 97.5)
    assert ours >= 0.94 * 200
    assert theirs < 0.93 * 200


@pytest.mark.parametrize(("area", "low", "high"), [(1.0, 0.95, 1.0), (0.0, 0.0, 0.05), (0.5, 0.38, 0.62)])
def test_the_interval_of_the_auroc_has_a_width_everywhere(area: float, low: float, high: float):
    found = auroc_interval(area, 40, 40)
    assert found[0] <= area <= found[1]
    assert found == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_views_that_keep_the_image_are_told_apart_and_views_that_do_not_are_not(energy: Path, tmp_path: Path):
    held_out = split(tmp_path, 150)
    gentle = measure(energy, held_out, policies(GENTLE), "global", CosineEnergy())
    wild = measure(energy, held_out, policies(WILD), "global", CosineEnergy())
    assert gentle["auroc"] > 0.8 > 0.65 > wild["auroc"]  # the encoder is untrained
    assert gentle["interval"][0] <= gentle["auroc"] <= gentle["interval"][1]
    assert gentle["energy"] == "negative_cosine_of_embeddings"
    assert (gentle["images"], gentle["view"]) == (150, "global")
    assert measure(energy, held_out, policies(GENTLE), "global", CosineEnergy()) == gentle


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_held_out_images_are_said_to_be_so(energy: Path, tmp_path: Path, count: int):
    report = measure(energy, split(tmp_path, count), policies(GENTLE), "global", CosineEnergy())
    assert (report["auroc"], report["interval"]) == (None, None)
    assert report["reason"] == f"split 'val' has {count} images; telling pairs apart takes two"
