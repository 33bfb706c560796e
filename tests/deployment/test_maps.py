"""backbone_maps.onnx: its maps equal torch's, its metadata describe them, and unavailable maps are named."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchmarks.nearest_patches import documented
from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.bundle.golden import golden_of
from ssl_pipeline.deployment.maps_graph import export_maps, layers_of
from ssl_pipeline.deployment.parity import probes, verify
from ssl_pipeline.deployment.rebuilt import answer
from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.export_config import GraphConfig
from ssl_pipeline.loading import load_registry
from ssl_pipeline.runtime import Backbone
from ssl_pipeline.testing.material import SmallPatchBackbone
from ssl_pipeline.types import Encoder
from tests.deployment.conftest import REPLAY, Images, Model
from tests.factories import MEAN, STD

OUTPUTS = ["embedding", "map_1", "map_2", "map_3"]


@pytest.fixture(scope="module")
def with_maps(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "backbone_maps.onnx"
    export_maps(model.encoder, model.card, path, [1, 2, 3], l2_normalize=True, opset=18)
    return path


def in_torch(model: Model, image: Images) -> list[np.ndarray]:
    with torch.inference_mode():
        fitted = fit(torch.tensor(image[None]), 16, model.card.resize, model.card.background)
        return [found.numpy() for found in model.encoder.maps(fitted)]


def test_maps_are_those_of_torch_and_the_embedding_is_that_of_the_backbone(
    model: Model, with_maps: Path, originals: list[Images]
):
    session, backbone = open_session(with_maps), open_session(model.backbone)
    assert [node.name for node in session.get_outputs()] == OUTPUTS
    for image in (*originals[:3], originals[0][:5, :90]):
        embedding, *maps = session.run(None, {"images": image[None]})
        np.testing.assert_allclose(embedding, run(backbone, image[None]), atol=1e-6)
        for found, expected in zip(maps, in_torch(model, image), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_the_runtime_gives_maps_and_embeddings_of_images_of_any_sizes(
    model: Model, with_maps: Path, originals: list[Images]
):
    backbone, images = Backbone(with_maps), [originals[0], originals[1][:5, :9], originals[0][::-1].copy()]
    found = backbone.maps(images)
    assert {name: maps.shape for name, maps in found.items()} == {
        "map_1": (3, 4, 16, 16),
        "map_2": (3, 8, 8, 8),
        "map_3": (3, 16, 4, 4),
    }
    for number, image in enumerate(images):
        for maps, expected in zip(found.values(), in_torch(model, image), strict=True):
            np.testing.assert_allclose(maps[number], expected[0], atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(backbone(images), Backbone(model.backbone)(images), atol=1e-6)
    with pytest.raises(
        PipelineError, match=r"backbone.onnx returns no feature maps. Export with .*\[embedding, maps\]"
    ):
        Backbone(model.backbone).maps(images)
    with pytest.raises(PipelineError, match=r"images\[0\] is uint8 \(8, 8\)"):
        backbone.maps([np.zeros((8, 8), np.uint8)])


def test_the_file_says_what_its_maps_are(model: Model, with_maps: Path):
    metadata = read_metadata(open_session(with_maps))
    assert json.loads(metadata["maps"]) == {
        "map_1": {"layer": 1, "channels": 4, "height": 16, "width": 16, "stride": 1.0},
        "map_2": {"layer": 2, "channels": 8, "height": 8, "width": 8, "stride": 2.0},
        "map_3": {"layer": 3, "channels": 16, "height": 4, "width": 4, "stride": 4.0},
    }
    assert metadata["output"].endswith(
        "of unit length; map_1: float32 [N, 4, 16, 16]; map_2: float32 [N, 8, 8, 8]; map_3: float32 [N, 16, 4, 4]"
    )
    assert "maps" not in read_metadata(open_session(model.backbone))


def test_every_map_is_held_against_torch(model: Model, with_maps: Path, originals: list[Images], tmp_path: Path):
    inputs, answers = tmp_path / "inputs.npz", tmp_path / "answers.npz"
    np.savez(inputs, **probes(originals, 16))
    answer(load_registry(), model.folder, inputs, answers, layer=None, l2_normalize=True, maps=[1, 2, 3])
    replay = [sys.executable, "-c", REPLAY, str(answers)]
    proof = verify(with_maps, originals, replay)
    assert [*proof["maps"]] == OUTPUTS[1:]
    assert all(found["max_difference"] < 1e-4 and found["row_difference"] < 1e-4 for found in proof["maps"].values())
    with np.load(answers) as file:
        changed = {name: file[name].copy() for name in file.files}
    changed["map_2/original/0"][0, 3, 2, 1] += 0.01 * np.abs(changed["map_2/original/0"]).max()
    np.savez(answers, **changed)
    with pytest.raises(PipelineError, match=r"^map_2 of backbone_maps.onnx does not compute what torch computes"):
        verify(with_maps, originals, replay)


def test_a_bundle_can_prove_every_map(with_maps: Path):
    golden = golden_of(with_maps)
    assert golden.precision == "fp32"
    assert [*golden.cases[0]["outputs"]] == OUTPUTS
    assert golden.arrays["backbone_maps.onnx/0/map_2"].shape == (3, 8 * 8 * 8)


def test_documented_lines_give_cosines_with_a_patch(model: Model, with_maps: Path, originals: list[Images]):
    likeness = documented(with_maps)["likeness"]
    first, second = (in_torch(model, image)[2][0] for image in originals[:2])
    wanted = torch.nn.functional.cosine_similarity(
        torch.tensor(second), torch.tensor(first[:, 1, 2, None, None]), dim=0
    )
    np.testing.assert_allclose(likeness(originals[0], 1, 2, originals[1]), wanted.numpy(), atol=1e-5)
    assert likeness(originals[0], 1, 2, originals[0])[1, 2] == pytest.approx(1)


def test_layers_are_chosen_by_name_and_one_that_is_not_there_is_named(model: Model):
    def chosen(*outputs: str) -> list[int]:
        return layers_of(["embedding", *outputs], model.encoder, model.card)

    assert (chosen(), chosen("maps"), chosen("map_3", "map_1")) == ([], [1, 2, 3], [1, 3])
    with pytest.raises(ConfigError, match=r"export.outputs: map_4, but this backbone \(resnet_cifar\) has maps map_1,"):
        chosen("map_2", "map_4")
    patches = Encoder(SmallPatchBackbone(16), MEAN, STD)
    assert layers_of(["embedding"], patches, model.card) == []
    with pytest.raises(ConfigError, match=r"export.outputs: maps, but this backbone .* has none: leave it out"):
        layers_of(["embedding", "maps"], patches, model.card)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (["embedding", "feature_maps"], "unknown output 'feature_maps': use embedding, maps, or map_2"),
        (["embedding", "map_0"], "unknown output 'map_0'"),
        (["maps"], "must contain embedding"),
        (["embedding", "maps", "maps"], "must not name an output twice"),
    ],
)
def test_outputs_that_nothing_gives_are_refused(outputs: list[str], said: str):
    assert GraphConfig(layer="last", l2_normalize=True, opset=18).outputs == ["embedding"]
    with pytest.raises(ValidationError, match=said):
        GraphConfig(layer="last", l2_normalize=True, opset=18, outputs=outputs)
