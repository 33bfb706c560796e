"""All stages on the same photographs as 8-bit RGB, as 12-bit grey and as 13 bands of float32.

`python -m benchmarks.bands IMAGES.zip [COUNT]` reads a zip of images in class folders below train/ and test/. Each
image is written in three forms: as it is; as its luminance in linear light, in 12 of 16 bits (PNG); and as 13 bands of
reflectance (TIFF, float32). Each band is a smooth mixture of the linear light of red, green and blue, as a sensor with
overlapping bands sees it; in every tenth image, a corner has no measurement (NaN). The script then runs all stages on
each form, and prints the duration and the accuracies.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from benchmarks.project import change, copy_project, environment
from ssl_pipeline_stages import STAGES

SETS: dict[str, Any] = {"rgb8": "rgb8", "grey12": "as_is", "bands13": "as_is"}


def linear(pixels: np.ndarray) -> np.ndarray:
    """Return the linear light, in [0, 1], of 8-bit sRGB values."""
    shares = pixels / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def write(kind: str, pixels: np.ndarray, number: int, path: Path) -> None:
    """Write an image (H, W, 3), uint8, in the form of one of `SETS`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    light = linear(pixels)
    if kind == "rgb8":
        Image.fromarray(pixels).save(path.with_suffix(".png"))
    elif kind == "grey12":
        grey = light @ (0.2126729, 0.7151522, 0.0721750)
        Image.fromarray((grey * 4095).round().astype(np.uint16)).save(path.with_suffix(".png"))
    else:
        distances = np.linspace(-0.5, 2.5, 13)[None] - np.arange(3)[:, None]
        weights = np.exp(-(distances**2) / 0.5)
        bands = (0.8 * light @ (weights / weights.sum(axis=0))).astype(np.float32)
        if number % 10 == 0:
            bands[:8, :8] = np.nan
        tifffile.imwrite(path.with_suffix(".tif"), bands, photometric="minisblack", planarconfig="contig")


def run(folder: Path, stage: str) -> None:
    """Run a stage; exit with its output if it fails."""
    command = (sys.executable, "-m", "ssl_pipeline", stage)
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{stage} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def main(images: Path, count: int = 1500) -> None:
    """Make the sets, run the stages and print the results."""
    with zipfile.ZipFile(images) as archive, tempfile.TemporaryDirectory() as scratch:
        names = sorted(name for name in archive.namelist() if name.endswith((".png", ".jpg")))
        names = names[:: max(1, len(names) // count)]
        for kind, pixels in SETS.items():
            folder = Path(scratch) / kind
            copy_project(folder)
            for number, name in enumerate(names):
                picture = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
                write(kind, picture, number, folder / "images" / name)
            change(
                folder,
                ingest={"source": {"name": "folder", "path": "images"}, "canvas": 32, "pixels": pixels},
                pretrain={"epochs": 10, "warmup": 0.1, "on_collapse": "warn"},
                finetune={"draws": 2, "budgets": [5, "all"]},
            )
            started = time.monotonic()
            for stage in STAGES:
                run(folder, stage)
            manifest = json.loads((folder / "data/ingested/manifest.json").read_text(encoding="utf-8"))
            figures = json.loads((folder / "reports/linear_eval/details.json").read_text(encoding="utf-8"))
            print(kind, manifest["images"], f"{time.monotonic() - started:.0f} s", flush=True)
            for name in ("backbone", "random_encoder", "raw_pixels", "colour_histogram"):
                found = figures if name == "backbone" else figures[name]
                print(f"  {name}: accuracy {found['accuracy']:.3f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
