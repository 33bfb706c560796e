"""The readers of docs/deploy.md and of the example read a file exactly as ingest reads training images."""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl_pipeline.data.decode import Canvas, read_pixels
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.deployment.runtime import open_session, run
from tests.deployment.conftest import Images, Model

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "examples" / "deploy" / "nearest.py").read_text(encoding="utf-8")
PAGE = next(
    block
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs/deploy.md").read_text(encoding="utf-8"), re.DOTALL)
    if "onnxruntime" in block
)
CANVAS = Canvas(size=16, resize="letterbox", background=(255, 128, 0), min_side=1, max_megapixels=1.0)


def save_kinds(photo: Images, folder: Path) -> list[Path]:
    """Save a photograph (H, W, 3) as each kind of file other than plain RGB."""
    plain, grey = Image.fromarray(photo), Image.fromarray(photo).convert("L")
    cutout = plain.copy()
    cutout.putalpha(grey.point(lambda value: 0 if value > 90 else value))
    palette = plain.quantize(16)
    palette.info["transparency"] = 3
    deep = np.asarray(grey).astype(np.uint16) * 257 + np.arange(grey.width, dtype=np.uint16) % 257
    images: dict[str, Image.Image] = {
        "cutout.png": cutout,
        "palette.png": palette,
        "one colour transparent.png": plain,
        "grey and alpha.png": cutout.convert("LA"),
        "16 bits.png": Image.fromarray(deep),
        "16 bits.tif": Image.fromarray(deep),
        "16 bits.pgm": Image.fromarray(deep),
        "grey.jpg": grey,
        "inks.jpg": plain.convert("CMYK"),
        "bits.png": plain.convert("1"),
        "lossless.webp": cutout,
        "floats up to 1.tif": Image.fromarray(deep.astype(np.float32) / 65_535),
        "floats.tif": Image.fromarray(deep.astype(np.float32) / 7 - 1_000),
        "one value.tif": Image.fromarray(np.full(deep.shape, 7.5, np.float32)),
        "32 bits.tif": Image.fromarray(deep.astype(np.int32) * 30_001 - 70_000),
        "lab.tif": Image.merge("LAB", plain.split()),
    }
    options: dict[str, dict[str, Any]] = {"lossless.webp": {"lossless": True}}
    options["one colour transparent.png"] = {"transparency": tuple(int(value) for value in photo[3, 4])}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        images |= {f"phone {orientation}.jpg": plain, f"turned cutout {orientation}.png": cutout}
        options |= {f"phone {orientation}.jpg": {"exif": exif}, f"turned cutout {orientation}.png": {"exif": exif}}
        images[f"turned 16 bits {orientation}.png"] = Image.fromarray(deep)
        options[f"turned 16 bits {orientation}.png"] = {"exif": exif}
    for name, image in images.items():
        image.save(folder / name, **options.get(name, {}))
    return [folder / name for name in images]


@pytest.fixture
def namespace(model: Model, originals: list[Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the code of docs/deploy.md defines, run in a folder as the page describes."""
    (tmp_path / "models" / "bundle").mkdir(parents=True)
    (tmp_path / "models" / "bundle" / "backbone.onnx").write_bytes(model.backbone.read_bytes())
    Image.fromarray(originals[1]).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    defined: dict[str, Any] = {}
    exec(PAGE, defined)
    return defined


def test_every_kind_of_file_is_read_as_augment_reads_it(
    namespace: dict[str, Any], model: Model, originals: list[Images], tmp_path: Path
) -> None:
    assert namespace["background"] == CANVAS.background
    session = open_session(model.backbone)
    files = save_kinds(np.ascontiguousarray(originals[0][100:220, 200:390]), tmp_path)
    for file in files:
        trained, _ = read_pixels(file.read_bytes(), CANVAS)
        np.testing.assert_array_equal(namespace["read"](str(file)), trained, err_msg=file.name)
        assert namespace["embed"](file) @ run(session, trained[None])[0] == pytest.approx(1.0, abs=1e-5)
    assert len(files) == 40


def test_values_that_are_not_finite_are_refused_as_in_training(namespace: dict[str, Any], tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, np.nan], [7, 3]], np.float32)).save(tmp_path / "lost.tif")
    with pytest.raises(RejectedError, match="it contains values that are not finite"):
        read_pixels((tmp_path / "lost.tif").read_bytes(), CANVAS)
    with pytest.raises(ValueError, match="it contains values that are not finite"):
        namespace["read"](str(tmp_path / "lost.tif"))


def test_the_example_has_the_reader_of_the_readme() -> None:
    readers = []
    for code in (PAGE, SCRIPT):
        (function,) = [
            node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef) and node.name == "read"
        ]
        readers.append(ast.get_source_segment(code, function))
        assert 'background = tuple(json.loads(session.get_modelmeta().custom_metadata_map["background"]))' in code
    assert readers[0] == readers[1]
