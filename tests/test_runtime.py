"""An exported backbone as a function of arrays."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from ssl_pipeline import runtime
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.runtime import Backbone
from tests.embeddings.graphs import write_graph
from tests.factories import digit_images


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graph(tmp_path_factory.mktemp("model") / "backbone.onnx")


def of_three_sizes(count: int) -> list[np.ndarray]:
    """Return digits; every second one is twice as high, and every third one twice as wide."""
    return [d.repeat(1 + n % 2, 0).repeat(1 + (n % 3 == 0), 1) for n, d in enumerate(digit_images(count))]


def test_images_of_any_sizes_are_embedded_in_their_order(model: Path, monkeypatch: pytest.MonkeyPatch):
    backbone, images = Backbone(model), of_three_sizes(20)
    alone = np.concatenate([backbone([image]) for image in images])
    assert (backbone.dim, backbone.size, alone.shape, alone.dtype) == (48, 4, (20, 48), np.float32)
    monkeypatch.setattr(runtime, "_BATCH_PIXELS", dict.fromkeys(runtime._BATCH_PIXELS, 300))
    np.testing.assert_allclose(backbone(images), alone, atol=1e-6)
    np.testing.assert_allclose(Backbone(str(model))(digit_images(9)), backbone(list(digit_images(9))), atol=1e-6)
    assert backbone([]).shape == (0, 48)


def test_pixels_bound_what_is_embedded_together(model: Path, monkeypatch: pytest.MonkeyPatch):
    batches = []
    run = runtime.run

    def noting(session, images, batch_size):
        batches.append(images.shape[:3])
        return run(session, images, batch_size=batch_size)

    monkeypatch.setattr(runtime, "run", noting)
    monkeypatch.setattr(runtime, "_BATCH_PIXELS", dict.fromkeys(runtime._BATCH_PIXELS, 200))
    Backbone(model)([*digit_images(7), digit_images(1)[0].repeat(10, 0)])
    assert batches == [(3, 8, 8), (3, 8, 8), (1, 8, 8), (1, 80, 8)]
    batches.clear()
    Backbone(model)(np.zeros((3, 1, 25, 3), np.uint8))  # the graph first resizes rows: 4 x 25 px per image
    assert batches == [(2, 1, 25), (1, 1, 25)]


def test_threads_share_it(model: Path):
    backbone, images = Backbone(model), of_three_sizes(40)
    expected = [backbone(images[start : start + 8]) for start in range(0, 40, 8)] * 6
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda start: backbone(images[start : start + 8]), list(range(0, 40, 8)) * 6))
    np.testing.assert_array_equal(found, expected)


def test_images_of_16_bits_and_other_bands(tmp_path: Path):
    backbone = Backbone(write_graph(tmp_path / "deep.onnx", "uint16", 2))
    image = np.arange(2 * 16, dtype=np.uint16).reshape(4, 4, 2)
    expected = image.transpose(2, 0, 1).reshape(-1).astype(np.float32)
    np.testing.assert_allclose(backbone([image])[0], expected / np.linalg.norm(expected), atol=1e-6)
    assert (backbone.images.channels, backbone.images.dtype, backbone.images.high) == (2, "uint16", 65535)
    with pytest.raises(
        PipelineError, match=r"images\[1\] is uint8 \(4, 4, 2\), but the model expects 2 bands of uint16"
    ):
        backbone([image, image.astype(np.uint8)])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8), np.uint8), r"images\[0\] is uint8 \(8, 8\), but the model expects RGB of uint8"),
        (np.zeros((8, 8, 4), np.uint8), r"images\[0\] is uint8 \(8, 8, 4\)"),
        (np.zeros((8, 8, 3), np.uint16), r"images\[0\] is uint16"),
        (np.zeros((0, 8, 3), np.uint8), r"images\[0\] is uint8 \(0, 8, 3\)"),
        ("photo.jpg", r"images\[0\] is of type str, but the model expects arrays"),
    ],
)
def test_what_the_model_does_not_take_is_told(model: Path, image: object, message: str):
    with pytest.raises(PipelineError, match=message):
        Backbone(model)([image])  # type: ignore[list-item]


def test_an_image_of_which_the_graph_makes_gigabytes_is_refused_unless_any_width_is_asked_for(model: Path):
    widest = 2**23 // 4  # the model's images have a side of 4 px
    strips = np.zeros((1, 1, widest + 1, 3), np.uint8)
    bounded, unbounded = Backbone(model, max_megapixels=1), Backbone(model, max_megapixels=None)
    with pytest.raises(
        PipelineError, match=rf"images\[0\] cannot be embedded: {widest + 1} x 1 px is too wide.*crop or"
    ):
        bounded(strips)
    assert bounded(strips[:, :, :-1]).shape == unbounded(strips).shape == (1, 48)
    bounded.check(np.broadcast_to(strips, (16, 1, widest + 1, 3))[:, 0], "high enough")
    Backbone(model, max_megapixels=100).check(strips[0], "as wide as a quarter of the pixels allows")


def test_what_is_no_backbone_is_told(model: Path, tmp_path: Path):
    with pytest.raises(PipelineError, match="none.onnx does not exist"):
        Backbone(tmp_path / "none.onnx")
    with pytest.raises(PipelineError, match="is not a file"):
        Backbone(tmp_path)
    text = tmp_path / "text.onnx"
    text.write_text("no graph")
    with pytest.raises(PipelineError, match="text.onnx is not a graph that onnxruntime"):
        Backbone(text)
    energy = write_graph(tmp_path / "energy.onnx", energy=True)
    with pytest.raises(PipelineError, match="maps images to energy, but a graph from images to embedding is needed"):
        Backbone(energy)
    with pytest.raises(PipelineError, match="from images to energy is needed. Name an energy.onnx of single images"):
        Backbone(model, output="energy")
    assert Backbone(energy, output="energy")(digit_images(3)).shape == (3,)


def test_a_file_of_an_unknown_operator_set_or_of_strangers_is_told(model: Path, tmp_path: Path):
    new = onnx.load(model)
    new.opset_import[0].version = 99
    (tmp_path / "new.onnx").write_bytes(new.SerializeToString())
    with pytest.raises(PipelineError, match="new.onnx is not a graph that onnxruntime .* can run: .*pset"):
        Backbone(tmp_path / "new.onnx")
    strange = onnx.load(model)
    helper.set_model_props(strange, {})
    (tmp_path / "strange.onnx").write_bytes(strange.SerializeToString())
    with pytest.raises(PipelineError, match="strange.onnx does not state which images it takes"):
        Backbone(tmp_path / "strange.onnx")


def test_it_needs_neither_torch_nor_what_trains(model: Path):
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'timm', 'onnx', 'sklearn', 'matplotlib', 'pyarrow'):\n"
        "    sys.modules[name] = None\n"
        "import numpy as np\n"
        "from ssl_pipeline.runtime import Backbone\n"
        f"print(Backbone({str(model)!r})([np.ones((5, 7, 3), np.uint8)]).shape)\n"
        "print([name for name in sys.modules if name.startswith('ssl_pipeline.') and name.split('.')[1] in\n"
        "       ('training', 'types', 'parts', 'augment', 'contrast', 'evaluation', 'artifacts')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 48)\n[]\n"


def test_an_embedding_of_no_fixed_length_is_refused(model: Path, tmp_path: Path):
    graph = onnx.load(model)
    nodes = graph.graph.node
    nodes[3].input[0] = nodes[2].input[0]  # a row with all pixels of an image, so that the length is not fixed
    del nodes[2]
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "anything"
    onnx.save(graph, tmp_path / "open.onnx")
    with pytest.raises(PipelineError, match=r"open\.onnx does not state the length of its embedding"):
        Backbone(tmp_path / "open.onnx")
