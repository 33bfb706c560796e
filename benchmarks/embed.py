"""Compare `ssl-pipeline embed` with a bare loop: `python -m benchmarks.embed ARCHIVE [--images N ...]`.

For each number of images, a folder is filled with that many files of the archive, repeated as often as necessary. Two
programs embed them with the same untrained backbone at 64 px: the command, and a loop that decodes each file with
Pillow and runs the session on it. A line of JSON gives, for each program, the wall-clock time, s; the processor time of
all its processes, s; and the peak memory of its main process and of all its processes, MiB. It also gives the ratios of
the times, bare / ours. The last line gives the growth of the command's main process per image, bytes.
"""

import json
import os
import tempfile
import zipfile
from pathlib import Path

import click
import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.many_images import watch

SIZE = 64  # px


def export(path: Path) -> None:
    """Write an untrained ResNet-8."""
    from ssl_pipeline.artifacts.assembly import build_encoder
    from ssl_pipeline.artifacts.card import ModelCard, versions
    from ssl_pipeline.config import Choice
    from ssl_pipeline.deployment.backbone_graph import export_backbone
    from ssl_pipeline.loading import load_registry
    from ssl_pipeline.recipes import Recipe

    backbone = Choice.model_validate({"name": "resnet_cifar", "depth": 8, "width": 16})
    encoder = build_encoder(load_registry(), backbone, (0.5,) * 3, (0.25,) * 3, 0, SIZE).eval()
    card = ModelCard(
        backbone=backbone,
        recipe=Recipe(name="rotation", pretext_task=Choice(name="rotation")),
        embedding_dim=encoder.embedding_dim,
        size=SIZE,
        resize="squash",
        background=(255, 255, 255),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        seed=0,
        batch_size=256,
        weights_sha256="",
        params_sha256="",
        plugins={},
        versions=versions(),
    )
    export_backbone(encoder, card, path, l2_normalize=True, opset=18)


def write_images(archive: Path, folder: Path, number: int) -> None:
    folder.mkdir()
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if name.lower().endswith((".jpg", ".png"))]
        for index in range(number):
            path = folder / f"{index:07}.jpg"
            if index < len(names):
                path.write_bytes(opened.read(names[index]))
            else:
                os.link(folder / f"{index % len(names):07}.jpg", path)


def bare(folder: Path, model: Path, out: Path) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rows = [
        session.run(None, {"images": np.asarray(Image.open(folder / name).convert("RGB"))[None]})[0][0]
        for name in sorted(os.listdir(folder))
    ]
    np.save(out, np.stack(rows))


@click.command(help=__doc__)
@click.argument("archive", type=click.Path(path_type=Path, exists=True))
@click.option("--images", "numbers", type=int, multiple=True, default=(5000, 20_000), show_default=True)
def main(archive: Path, numbers: tuple[int, ...]) -> None:
    grown = []
    for number in numbers:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            export(folder / "backbone.onnx")
            write_images(archive, folder / "images", number)
            words = ("-m", "ssl_pipeline", "embed", "images", "--model", "backbone.onnx")
            ours = watch(folder, words)
            theirs = watch(folder, ("-c", f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); {BARE}"))
        ratios = {
            name: round(theirs[key] / ours[key], 3)
            for name, key in (("ratio", "seconds"), ("processor_ratio", "processor_seconds"))
        }
        print(json.dumps({"images": number, **ratios, "embed": ours, "bare": theirs}), flush=True)
        grown.append(ours["main_mib"])
    if len(numbers) > 1:
        per_image = (grown[-1] - grown[0]) * 2**20 / (numbers[-1] - numbers[0])
        print(json.dumps({"what": "growth", "bytes_per_image": round(per_image)}))


BARE = (
    "from pathlib import Path; from benchmarks.embed import bare; "
    "bare(Path('images'), Path('backbone.onnx'), Path('rows.npy'))"
)
"""The bare loop, as a program."""


if __name__ == "__main__":
    main()
