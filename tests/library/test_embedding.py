"""`ssl_pipeline.embed` reads images of any size as training does, and returns their embeddings in the same order."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssl_pipeline
from ssl_pipeline.data.decode import Canvas, read_pixels
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.errors import PipelineError
from tests.factories import digit_images

CANVAS = Canvas(8, "squash", (255, 128, 0), 1, 1.0)


def test_paths_pictures_and_arrays_of_any_size_are_embedded_in_their_order(backbone: Path, tmp_path: Path):
    digits = digit_images(6)
    cutout = Image.fromarray(digits[0]).convert("RGBA")
    cutout.putalpha(Image.fromarray(digits[1]).convert("L"))
    cutout.save(tmp_path / "cutout.png")
    Image.fromarray(digits[2]).resize((20, 11)).convert("L").save(tmp_path / "grey.png")
    mixed = [digits[3], tmp_path / "cutout.png", digits[4].repeat(2, 0), str(tmp_path / "grey.png"), cutout, digits[5]]
    found = ssl_pipeline.embed(backbone, mixed, batch_size=4)
    session = open_session(backbone)
    read = [read_pixels((tmp_path / name).read_bytes(), CANVAS)[0] for name in ("cutout.png", "grey.png")]
    expected = [digits[3], read[0], digits[4].repeat(2, 0), read[1], read[0], digits[5]]
    np.testing.assert_allclose(found, np.concatenate([run(session, image[None]) for image in expected]), atol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_an_array_of_images_one_image_and_none_give_rows(backbone: Path):
    digits = digit_images(5)
    every = ssl_pipeline.embed(backbone, digits)
    assert every.shape == (5, 16)
    np.testing.assert_allclose(ssl_pipeline.embed(str(backbone), digits[2]), every[2:3], atol=1e-6)
    np.testing.assert_allclose(ssl_pipeline.embed(backbone, digits[2, :, :, 0]), every[2:3], atol=1e-6)
    np.testing.assert_allclose(ssl_pipeline.embed(backbone, (image for image in digits)), every, atol=1e-6)
    assert ssl_pipeline.embed(backbone, []).shape == (0, 16)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["nowhere.png"], r"images\[0\]: 'nowhere.png' cannot be read \(No such file"),
        ([digit_images(1)[0], "."], r"images\[1\]: '.' cannot be read \(Is a directory\)"),
        ([np.zeros((8, 8, 3))], r"images\[0\] is an array of float64 \(8, 8, 3\). Give uint8"),
        ([np.zeros((3, 8, 8), np.uint8)], r"images\[0\] is an array of uint8 \(3, 8, 8\)"),
        (np.zeros(3, np.uint8), r"images is an array of shape \(3,\)"),
        ([7], r"images\[0\] is of type int"),
        (["a\0b"], r"images\[0\]: 'a\\x00b' cannot be read"),
    ],
)
def test_what_is_no_image_is_told(backbone: Path, images: object, message: str):
    with pytest.raises(PipelineError, match=message):
        ssl_pipeline.embed(backbone, images)  # type: ignore[arg-type]


def test_a_broken_file_is_named(backbone: Path, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(PipelineError, match=r"images\[0\] \('.*broken.png'\) cannot be used: "):
        ssl_pipeline.embed(backbone, [tmp_path / "broken.png"])


def test_what_is_no_backbone_is_told(tmp_path: Path):
    with pytest.raises(PipelineError, match="does not exist"):
        ssl_pipeline.embed(tmp_path / "none.onnx", [])
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(PipelineError, match="is not a graph"):
        ssl_pipeline.embed(tmp_path / "text.onnx", [])


def test_it_runs_without_torch(backbone: Path, tmp_path: Path):
    np.save(tmp_path / "digits.npy", digit_images(2))
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, ssl_pipeline\n"
        f"print(ssl_pipeline.embed({str(backbone)!r}, np.load({str(tmp_path / 'digits.npy')!r})).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(2, 16)\n"
