"""False alarms and power of `ssl-pipeline drift`: `python -m benchmarks.drift DATA [clothing cifar10] [--epochs N]`.

DATA contains clothing/ and cifar10/ with their zip files. For each set, a ResNet-8 is pretrained on a random 60% of the
images; 20% are the reference and 20% are held out. Only one image of each group of near copies is used, because the
test requires one image per group. The splits of the data sets are not used, because that of clothing is itself a drift.
For each batch size, 200 batches of unchanged held-out images and 50 batches of each kind of changed ones are drawn. A
line of JSON gives the share of batches that raise an alarm at a nominal rate of 1%, with its 95% interval (Wilson).
`redrawn` divides the images into reference and held-out ones again for each batch, which makes the rate exact.
"""

import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from scipy.stats import binomtest

from benchmarks.project import change, copy_project, environment
from benchmarks.real_images import VIEWS
from ssl_pipeline.data.decode import to_canvas
from ssl_pipeline.data.likeness import alike, sketch
from ssl_pipeline.embeddings.drift import Reference, Rows, judge, reference_of
from ssl_pipeline.runtime import Backbone

CANVAS, IMAGES, RATE = 40, 3700, 0.01
SIZES = (20, 50, 200)
DRAWS, DRAWS_CHANGED = 200, 50
SAME = ("redrawn", "the same")
ARCHIVES = {"clothing": "clothing/clothing.zip", "cifar10": "cifar10/test.zip"}
SPLITS = {"train": 0.6, "reference": 0.2, "held out": 0.2}


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda image: image,
    "brightness 0.9": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "brightness 0.7": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brightness 0.5": lambda image: ImageEnhance.Brightness(image).enhance(0.5),
    "blur, sigma 1% of the side": lambda image: image.filter(ImageFilter.GaussianBlur(min(image.size) / 100)),
    "blur, sigma 3% of the side": lambda image: image.filter(ImageFilter.GaussianBlur(3 * min(image.size) / 100)),
    "JPEG, quality 10": lambda image: jpeg(image, 10),
}


def read(archive: Path, number: int) -> list[Image.Image]:
    """Draw `number` images of an archive at random and read them; keep only one of each group of near copies."""
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if name.lower().endswith((".jpg", ".png")))
        drawn = np.random.default_rng(0).permutation(len(names))[:number]
        images = [Image.open(io.BytesIO(opened.read(names[place]))).convert("RGB") for place in drawn]
    copies = {place for group in alike([sketch(image) for image in images]) for place in group[1:]}
    return [image for place, image in enumerate(images) if place not in copies]


def pretrain(folder: Path, images: list[Image.Image], epochs: int) -> Backbone:
    copy_project(folder)
    (folder / "images").mkdir()
    for number, image in enumerate(images):
        image.save(folder / "images" / f"{number:05}.png")
    change(
        folder,
        ingest={"canvas": CANVAS, "resize": "letterbox", "source": {"name": "folder", "path": "images"}},
        augment={"views": VIEWS},
        pretrain={"epochs": epochs, "warmup": 0.1, "on_collapse": "warn"},
    )
    for stage in ("inventory", "ingest", "augment", "pretrain", "export"):
        done = subprocess.run(
            (sys.executable, "-m", "ssl_pipeline", stage), cwd=folder, env=environment(), capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()[-3000:]
    return Backbone(folder / "models/export/backbone.onnx", threads=1)


def embed(backbone: Backbone, images: list[Image.Image]) -> Rows:
    return backbone([np.asarray(to_canvas(image, CANVAS, "letterbox", (255, 255, 255))) for image in images])


def alarms(
    reference: Callable[[np.random.Generator], tuple[Reference, Rows]], size: int, draws: int
) -> dict[str, object]:
    chance, count = np.random.default_rng(size), 0
    for _ in range(draws):
        known, held_out = reference(chance)
        count += judge(known, held_out[chance.choice(len(held_out), size, replace=False)], RATE).alarm
    low, high = binomtest(count, draws).proportion_ci(method="wilson")
    return {"images": size, "draws": draws, "alarms": count / draws, "interval": [round(low, 4), round(high, 4)]}


def made(training: Rows, validation: Rows) -> Reference:
    found = reference_of(training, validation, {})
    assert found is not None
    return found


@click.command(help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("sets", nargs=-1, type=click.Choice(list(ARCHIVES)))
@click.option("--epochs", default=20, show_default=True)
def main(data: Path, sets: tuple[str, ...], epochs: int) -> None:
    for name in sets or tuple(ARCHIVES):
        images = read(data / ARCHIVES[name], IMAGES)
        bounds = [int(len(images) * share) for share in np.cumsum(list(SPLITS.values()))[:2]]
        train, kept, held_out = images[: bounds[0]], images[bounds[0] : bounds[1]], images[bounds[1] :]
        with tempfile.TemporaryDirectory() as folder:
            backbone = pretrain(Path(folder), train, epochs)
            training, validation = embed(backbone, train), embed(backbone, kept)
            kinds = {what: embed(backbone, [alter(image) for image in held_out]) for what, alter in CHANGES.items()}
            other = next(rest for rest in ARCHIVES if rest != name)
            kinds |= {"foreign": embed(backbone, read(data / ARCHIVES[other], len(held_out)))}
        known, pool = made(training, validation), np.concatenate([validation, kinds["the same"]])

        def redrawn(
            chance: np.random.Generator, pool: Rows = pool, training: Rows = training
        ) -> tuple[Reference, Rows]:
            order = chance.permutation(len(pool))
            return made(training, pool[order[: len(order) // 2]]), pool[order[len(order) // 2 :]]

        lines = {what: lambda _, known=known, rows=rows: (known, rows) for what, rows in kinds.items()}
        for what, draw in {"redrawn": redrawn, **lines}.items():
            for size in SIZES:
                facts = {"set": name, "what": what, "reference": len(validation), "held_out": len(held_out)}
                draws = DRAWS if what in SAME else DRAWS_CHANGED
                print(json.dumps(facts | alarms(draw, size, draws)), flush=True)


if __name__ == "__main__":
    main()
