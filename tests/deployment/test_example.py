"""The example deploys with numpy, Pillow and onnxruntime alone."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.deployment.conftest import Images, Model
from tests.factories import digit_images

SCRIPT = Path(__file__).parents[2] / "examples" / "deploy" / "nearest.py"


def test_it_finds_the_image_itself_and_a_version_of_it_first(model: Model, originals: list[Images], tmp_path: Path):
    for number, image in enumerate([*digit_images(12), *originals[:2]]):
        Image.fromarray(image).save(tmp_path / f"{number:02}.png")
    flower = Image.fromarray(originals[1])
    flower.resize((100, 213), Image.Resampling.BOX).transpose(Image.Transpose.ROTATE_90).save(
        tmp_path / "turned.jpg", exif=exif(orientation=6), quality=95
    )
    command = [sys.executable, SCRIPT, model.backbone, tmp_path / "13.png", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    assert [Path(path).name for _, path in lines[:2]] == ["13.png", "turned.jpg"]
    cosines = np.array([float(cosine) for cosine, _ in lines])
    assert len(cosines) == 5
    assert (np.diff(cosines) <= 0).all()
    assert cosines[0] == 1.0
    assert done.stderr == ""


def test_what_cannot_be_read_is_left_out_by_name(model: Model, tmp_path: Path):
    images = tmp_path / "images"
    images.mkdir()
    for number, image in enumerate(digit_images(3)):
        Image.fromarray(image).save(images / f"{number}.png")
    (images / "broken.png").write_bytes((images / "0.png").read_bytes()[:60])
    (images / "text.jpg").write_text("no image")

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = call(model.backbone, images / "0.png", images)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
    assert [line.partition(" is left out: ")[0] for line in done.stderr.splitlines()] == [
        str(images / "broken.png"),
        str(images / "text.jpg"),
    ]
    for query, folder in [(images / "text.jpg", images), (images / "0.png", images / "none")]:
        done = call(model.backbone, query, folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith(f"error: {query} must be an image, and {folder} a folder of images\n")
    for wrong, reason in [(images / "none.onnx", "NO_SUCHFILE"), (images / "text.jpg", "INVALID_PROTOBUF")]:
        done = call(wrong, images / "0.png", images)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: {wrong} cannot be used (")
        assert reason in done.stderr
        assert done.stderr.endswith("name a backbone.onnx, such as models/bundle/backbone.onnx\n")
    done = call(model.core, images / "0.png", images)
    assert done.stderr.startswith(f"error: {model.core} cannot be used (it does not compute embeddings of images)")
    usage = call()
    assert (usage.returncode, usage.stderr.splitlines()[0]) == (2, SCRIPT.read_text().splitlines()[0].strip('"'))


def exif(orientation: int) -> bytes:
    """Return an EXIF block with the orientation of a camera."""
    note = Image.Exif()
    note[0x0112] = orientation
    return note.tobytes()


def test_it_imports_nothing_of_ours():
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names == {"json", "os", "sys", "pathlib", "numpy", "onnxruntime", "PIL"}
