"""Graphs from pixels: any number and shape of images, names, metadata, and classifiers that only add a head."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from scipy.special import softmax

from ssl_pipeline.artifacts.assembly import cut
from ssl_pipeline.deployment import traces
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.classifier_graph import append_classifier
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from ssl_pipeline.deployment.runtime import layer_of, open_session, read_metadata, run
from tests.deployment.conftest import Images, Model
from tests.factories import digit_images

SHAPES = [(1, 1), (1, 9), (8, 8), (16, 16), (5, 100), (427, 640)]
PLAIN = {
    *("Abs", "Add", "And", "Cast", "Clip", "Concat", "Div", "Expand", "Floor", "Gather", "GreaterOrEqual", "Less"),
    *("MatMul", "Max", "Min", "Mul", "Range", "ReduceSum", "Relu", "Reshape", "Shape", "Slice", "Split", "Squeeze"),
    *("Sub", "Transpose", "Unsqueeze", "Where"),
}
AGAIN = """
import sys
from pathlib import Path
from ssl_pipeline.loading import load_registry
from ssl_pipeline.deployment.backbone_graph import export_backbone_and_core
from ssl_pipeline.deployment.core_graph import Core
from ssl_pipeline.artifacts.files import load_encoder
encoder, card = load_encoder(load_registry(), Path(sys.argv[1]))
core = Core(Path(sys.argv[3]))
export_backbone_and_core(encoder, card, Path(sys.argv[2]), core, l2_normalize=True, opset=18)
"""
CLASSES = ["0", "ʻnullʻ", '../a "b"\n\r\\$x$\x1b[31m']


def embed(model: Model, images: Images, l2_normalize: bool = True) -> np.ndarray:
    with torch.inference_mode():
        return FromPixels(model.card, embedding(model.encoder, l2_normalize)).eval()(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_images_of_any_shape(model: Model, shape: tuple[int, int], count: int):
    images = np.random.default_rng(0).integers(0, 256, (count, *shape, 3)).astype(np.uint8)
    embeddings = run(open_session(model.backbone), images)
    assert embeddings.shape == (count, model.card.embedding_dim)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, embed(model, images), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_the_graph_resizes_as_the_store_did(model: Model, originals: list[Images]):
    """Compares the bare encoder on Pillow's letterbox of a photograph with the graph on the photograph."""
    photograph = originals[0]  # 427 x 640, resized to 11 x 16 with borders of 2 and 3 rows
    canvas = Image.new("RGB", (16, 16), model.card.background)
    canvas.paste(Image.fromarray(photograph).resize((16, 11), Image.Resampling.BILINEAR), (0, 2))
    pixels = torch.from_numpy(np.asarray(canvas).copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model.encoder(pixels)).numpy()
    actual = run(open_session(model.backbone), photograph[None])
    assert (expected * actual).sum() > 0.999  # Pillow rounds to whole grey levels, the graph does not


def test_the_file_says_what_it_is(model: Model):
    metadata = read_metadata(open_session(model.backbone))
    assert metadata["input"].startswith("images: uint8 [N, H, W, 3], RGB")
    assert metadata["output"] == "embedding: float32 [N, 16], of unit length"
    assert json.loads(metadata["l2_normalized"]) is True
    assert (json.loads(metadata["size"]), metadata["resize"]) == (16, "letterbox")
    assert json.loads(metadata["background"]) == [255, 128, 0]
    assert json.loads(metadata["recipe"])["name"] == "rotation"
    assert json.loads(metadata["backbone"]) == {"name": "resnet_cifar", "depth": 8, "width": 4}
    assert metadata["weights_sha256"] == model.card.weights_sha256 != ""
    assert metadata["params_sha256"] == "0123"
    assert {"torch", "onnx", "ssl-pipeline"} <= json.loads(metadata["versions"]).keys()
    assert metadata["layer"] == "last"
    assert not {"classes", "energy"} & metadata.keys()


def test_resizing_is_made_of_operators_that_every_runtime_has(model: Model):
    """There is no Resize, whose antialiasing few runtimes have, and no loop; no photograph is ever whole in floats."""
    graph = onnx.load(model.backbone).graph
    front = [node for node in graph.node if node.name.startswith("images")]
    assert len(front) > 50
    assert {node.op_type for node in front} <= PLAIN
    makers = {name: node.op_type for node in front for name in node.output}
    (pixels,) = (node.output[0] for node in front if node.name == "images_must_have_pixels")
    read, readers = {pixels}, []
    while found := [node for node in front if read & set(node.input) and node not in readers]:
        readers += found
        read |= {node.output[0] for node in found if node.op_type == "Reshape"}
    assert {node.op_type for node in readers} == {"Reshape", "Shape", "Gather"}
    assert sum(node.op_type == "Gather" for node in readers) == 8
    assert makers[pixels] == "Reshape"


def test_another_process_writes_the_same_bytes(model: Model, tmp_path: Path):
    environment = {**os.environ, "PYTHONHASHSEED": "7", traces.FOLDER: ""}  # no cache: everything is traced
    again, core = tmp_path / "again.onnx", tmp_path / "core.onnx"
    subprocess.run([sys.executable, "-c", AGAIN, model.folder, again, core], env=environment, check=True)
    assert again.read_bytes() == model.backbone.read_bytes()
    assert core.read_bytes() == model.core.read_bytes()


def test_without_normalisation_and_with_the_newest_operators(model: Model, tmp_path: Path):
    export_backbone(model.encoder, model.card, tmp_path / "raw.onnx", l2_normalize=False, opset=23)
    session = open_session(tmp_path / "raw.onnx")
    images = digit_images(4)
    np.testing.assert_allclose(run(session, images), embed(model, images, l2_normalize=False), rtol=1e-5, atol=1e-6)
    metadata = read_metadata(session)
    assert json.loads(metadata["l2_normalized"]) is False
    assert metadata["output"].endswith("not normalised")
    assert onnx.load(tmp_path / "raw.onnx").opset_import[0].version == 23


@pytest.mark.parametrize(("layer", "dim"), [(1, 4), (2, 8)])
def test_a_graph_cut_at_a_layer_is_its_averaged_maps_and_holds_nothing_behind_it(
    model: Model, tmp_path: Path, layer: int, dim: int
):
    path = tmp_path / "cut.onnx"
    export_backbone(*cut(model.encoder, model.card, layer), path, l2_normalize=True, opset=18)
    session = open_session(path)
    metadata = read_metadata(session)
    assert (layer_of(metadata["layer"]), metadata["embedding_dim"]) == (layer, str(dim))
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)  # not resized
    with torch.inference_mode():
        maps = model.encoder.maps(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)[layer - 1]
        expected = torch.nn.functional.normalize(maps.mean(dim=(2, 3))).numpy()
    np.testing.assert_allclose(run(session, images), expected, atol=1e-6)

    graph, whole = onnx.load(path).graph, onnx.load(model.backbone).graph
    used = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used
    later = [f"blocks.{number}." for number in range(layer, 3)]  # depth 8: each layer is one block
    assert not [one.name for one in graph.initializer if any(name in one.name for name in later)]
    assert all(any(name in one.name for one in whole.initializer) for name in later)
    assert path.stat().st_size < model.backbone.stat().st_size


def test_a_classifier_is_the_backbone_and_a_softmax(model: Model, tmp_path: Path):
    generator = np.random.default_rng(0)
    weight, bias = generator.normal(size=(3, 16)) * 5, generator.normal(size=3)
    path = tmp_path / "classifier.onnx"
    append_classifier(model.backbone, weight, bias, CLASSES, path, {"penalty": "0.1"})
    images = digit_images(7)
    embeddings = run(open_session(model.backbone), images).astype(np.float64)
    session = open_session(path)
    assert [node.name for node in session.get_outputs()] == ["probabilities"]
    assert session.get_outputs()[0].shape == ["batch", 3]
    np.testing.assert_allclose(run(session, images), softmax(embeddings @ weight.T + bias, axis=1), atol=1e-6)

    metadata, inherited = read_metadata(session), read_metadata(open_session(model.backbone))
    assert json.loads(metadata["classes"]) == CLASSES
    assert metadata["output"].startswith("probabilities: float32 [N, 3]")
    assert {**inherited, "output": metadata["output"]}.items() <= metadata.items()
    assert metadata["penalty"] == "0.1"
    backbone, classifier = onnx.load(model.backbone), onnx.load(path)
    assert (classifier.ir_version, classifier.opset_import) == (backbone.ir_version, backbone.opset_import)
    assert list(classifier.graph.initializer[:-2]) == list(backbone.graph.initializer)


@pytest.mark.parametrize(("weight", "bias"), [((3, 15), (3,)), ((2, 16), (2,)), ((3, 16), (2,))])
def test_a_head_that_does_not_fit_is_refused(model: Model, tmp_path: Path, weight: tuple, bias: tuple):
    with pytest.raises(ValueError, match="3 classes on 16 features"):
        append_classifier(model.backbone, np.zeros(weight), np.zeros(bias), CLASSES, tmp_path / "no.onnx")
    assert list(tmp_path.iterdir()) == []
