"""Images other than 8-bit RGB go from pixels to embeddings: graphs take their type, bands and unmeasured pixels."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch

from ssl_pipeline.artifacts.assembly import build_encoder, build_task
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.data.store import open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.classifier_graph import append_classifier
from ssl_pipeline.deployment.energy_graph import export_energy, prove_energy
from ssl_pipeline.deployment.image_graph import image_metadata
from ssl_pipeline.deployment.parity import probes, verify
from ssl_pipeline.deployment.pretext_graph import write_pretext_graph
from ssl_pipeline.deployment.rehearsal import rehearse
from ssl_pipeline.deployment.runtime import images_of, open_session, read_metadata, run
from ssl_pipeline.loading import load_registry
from ssl_pipeline.parts.heads import CosineEnergy
from ssl_pipeline.types import Encoder
from tests.deployment.conftest import Images, describe
from tests.factories import BACKBONE

BANDS = ImageSpec(channels=13, dtype="float32", low=-0.5, high=2.0, rgb=(3, 2, 1))
GREY12 = ImageSpec(channels=1, dtype="uint16", low=0, high=4095, nodata=0)
SIZE = 16


class Exported(NamedTuple):
    folder: Path
    encoder: Encoder
    card: ModelCard
    backbone: Path
    originals: list[Pixels]


def photographs(originals: list[Images], spec: ImageSpec) -> list[Pixels]:
    """Return photographs in the units and type of a spec; each band is another mixture of red, green and blue."""
    shares = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], spec.channels)
    values = [spec.low + image @ shares.T / 255 * (spec.high - spec.low) for image in originals]
    return [image.astype(spec.numpy_dtype) for image in values]


@pytest.fixture(scope="module", params=[BANDS, GREY12], ids=str)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, originals: list[Images]):
    spec, folder = request.param, tmp_path_factory.mktemp("bands")
    images = photographs(originals, spec)
    mean, std = (0.4,) * spec.channels, (0.3,) * spec.channels
    encoder = build_encoder(load_registry(), BACKBONE, mean, std, 0, SIZE, images=spec).eval()
    background = tuple(float(spec.high / 2) for _ in range(spec.channels))
    facts = {"images": spec, "mean": mean, "std": std, "background": background}
    card = save_model(folder, encoder, None, describe(encoder, SIZE).model_copy(update=facts))
    export_backbone(encoder, card, folder / "export" / "backbone.onnx", l2_normalize=False, opset=18)
    return Exported(folder, encoder, card, folder / "export" / "backbone.onnx", images)


def test_the_graph_is_proved_gaps_and_all(exported: Exported, make_replay: Callable[..., list[str]]):
    command = make_replay(exported.folder, exported.card, exported.originals, l2_normalize=False)
    figures = verify(exported.backbone, exported.originals, command)
    assert figures["max_difference"] < 1e-4
    assert figures["variation"] > 1e-3


def test_values_count_by_their_full_scale_and_gaps_as_the_background(exported: Exported):
    spec, card = exported.card.images, exported.card
    image = exported.originals[0][:SIZE, :SIZE].copy()  # the trained size, so nothing is resized
    image[:4] = np.nan if spec.nodata is None else spec.nodata
    shares = (image.astype(np.float64) - spec.low) / (spec.high - spec.low)
    shares[:4] = (card.background[0] - spec.low) / (spec.high - spec.low)
    with torch.inference_mode():
        expected = exported.encoder(torch.from_numpy(shares.clip(0, 1).astype(np.float32)).permute(2, 0, 1)[None])
    session = onnxruntime.InferenceSession(exported.backbone, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": image[None]})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    filled = image.copy()
    filled[:4] = card.background[0]
    np.testing.assert_allclose(session.run(None, {"images": filled[None]})[0], found, rtol=1e-3, atol=1e-4)


def test_other_shapes_are_fitted_as_in_torch_with_gaps_on_the_way(exported: Exported):
    card, image = exported.card, exported.originals[1][:90, :70].copy()
    image[20:50, 10:40] = np.nan if card.images.nodata is None else card.images.nodata
    with torch.inference_mode():
        fitted = fit(torch.from_numpy(image[None]), SIZE, card.resize, card.background, card.images)
        expected = exported.encoder(fitted).numpy()
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(run(open_session(exported.backbone), image[None]), expected, rtol=1e-4, atol=1e-5)


def test_the_file_says_what_images_it_takes_and_classifiers_inherit_it(exported: Exported, tmp_path: Path):
    spec = exported.card.images
    append_classifier(exported.backbone, np.zeros((2, 16)), np.zeros(2), ["a", "b"], tmp_path / "classifier.onnx")
    for path in (exported.backbone, tmp_path / "classifier.onnx"):
        metadata = read_metadata(open_session(path))
        assert images_of(metadata) == spec
        assert json.loads(metadata["channels"]) == spec.channels
        assert metadata["input"].startswith(f"images: {spec.dtype} [N, H, W, {spec.channels}], {spec.channels} band")
        assert "where nothing was measured" in metadata["input"]
    assert images_of({"size": "16"}) == images_of(image_metadata(RGB8)) == RGB8


def test_images_of_another_type_are_refused(exported: Exported):
    spec, session = exported.card.images, open_session(exported.backbone)
    with pytest.raises(ValueError, match=rf"images must be {spec.dtype} \(n, H, W, {spec.channels}\), got uint8"):
        run(session, np.zeros((1, 8, 8, spec.channels), np.uint8))
    with pytest.raises(ValueError, match=rf"images must be {spec.dtype} .* \(1, 8, 8, 3\)"):
        run(session, np.zeros((1, 8, 8, 3), spec.numpy_dtype))


def test_energies_predictions_and_the_rehearsal_take_them_too(exported: Exported, tmp_path: Path):
    encoder, card = exported.encoder, exported.card
    if card.images == GREY12:
        export_energy(encoder, CosineEnergy(), card, tmp_path / "energy.onnx", opset=18)
        proof = prove_energy(tmp_path / "energy.onnx", encoder, CosineEnergy(), card, exported.originals)
        assert proof.max_difference < 1e-4
        return
    rehearse(encoder, card)
    canvases = np.stack([image[:8, :8] for image in exported.originals])
    write_split(tmp_path / "train", np.arange(len(canvases), dtype=np.uint64), [canvases], 8, card.images)
    task = build_task(load_registry(), card.recipe, encoder, 0, SIZE)
    write_pretext_graph(task, card, open_split(tmp_path, "train"), tmp_path / "pretext.onnx")
    assert images_of(read_metadata(open_session(tmp_path / "pretext.onnx"))) == card.images


def test_the_probes_stay_in_the_type_and_have_gaps_where_images_may_have(exported: Exported):
    spec = exported.card.images
    found = probes(exported.originals, SIZE, spec)
    assert {batch.dtype for batch in found.values()} == {spec.numpy_dtype}
    missing = np.isnan if spec.nodata is None else (lambda batch: batch == spec.nodata)
    assert missing(found["unmeasured/all"]).all()
    assert 0.2 < missing(found["unmeasured/part"]).mean() < 0.9
    first, turned = found["batch/7"][[0, 4]].astype(np.float64)
    np.testing.assert_allclose(first + turned, spec.low + spec.high, rtol=1e-6, atol=1e-6)
