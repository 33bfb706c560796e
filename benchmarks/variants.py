"""Variants of backbone.onnx on four data sets: `python -m benchmarks.variants DATA FOLDER [--only NAME] [--epochs N]`.

DATA is a folder with `cifar10/` (train.zip, test.zip) and `clothing/` (clothing.zip). The projects are written to
FOLDER, and existing ones are not trained again. Encoders are trained briefly, for the number of epochs of `--epochs`
(digits: that of params.yaml), because the benchmark measures how much accuracy a variant loses, not how good the
encoder is.

- digits: the shipped params.yaml
- cifar10: 100 training and 100 test images per class, ResNet-18 with a stem for small images, at 32 px
- clothing: all images, ResNet-18 at 96 px
- clothing-vit: every second image, ViT-Tiny with patches of 16 px, at 96 px

Differences are measured on test images, with 95% intervals. Times are shares of the time of torch, in turns in one
process, on one thread of the CPU.

The gate has its default bounds, and `on_gate_failure` is drop: a variant that fails is missing from the table, and the
stage reports the reason. The output is the table of docs/deploy.md.
"""

import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import real_images
from benchmarks.project import change, copy_project
from benchmarks.stage import stage
from ssl_pipeline.artifacts.files import load_encoder
from ssl_pipeline.config import load
from ssl_pipeline.data.labelled import read_labelled
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from ssl_pipeline.deployment.latency import time_files
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.evaluation.features import Embed, Kept
from ssl_pipeline.evaluation.linear.comparison import BACKBONE, figures, predict, settle
from ssl_pipeline.evaluation.linear.variants import open_variants, set_apart, study_variants
from ssl_pipeline.evaluation.statistics.wording import gained
from ssl_pipeline.loading import load_registry
from ssl_pipeline_stages.paths import EXPORT, PRETRAIN, STORE

SIDE = 96
PER_CLASS = 100
VIEWS = {kind: {**policy, "size": SIDE} for kind, policy in real_images.VIEWS.items()}
COLUMNS = "| images | variant | size | 1 image | 32 images | cosine, mean (min) | recall@10 | kNN | probe | chosen |"
STAGES = ("inventory", "ingest", "augment", "pretrain")


def digits(data: Path, project: Path, epochs: int) -> None:
    del data, epochs
    copy_project(project)


def cifar10(data: Path, project: Path, epochs: int) -> None:
    real_images.prepare("cifar10", data / "cifar10", project, ())
    with zipfile.ZipFile(project / "images.zip", "w") as out:
        for split in ("train", "test"):
            with zipfile.ZipFile(data / "cifar10" / f"{split}.zip") as source:
                for name in source.namelist():
                    if int(Path(name).stem) < PER_CLASS:
                        out.writestr(f"{split}/{name}", source.read(name))
    resnet = {"name": "torchvision/resnet18", "stem": "small"}
    change(project, pretrain={"backbone": resnet, "epochs": epochs, "batch_size": 64})


def clothing(data: Path, project: Path, epochs: int) -> None:
    _photographs(data, project, epochs, {"name": "torchvision/resnet18", "stem": "imagenet"})


def clothing_vit(data: Path, project: Path, epochs: int) -> None:
    _photographs(data, project, epochs, {"name": "timm/vit_tiny_patch16_224"})
    whole, half = project / "images.zip", project / "half.zip"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(half, "w") as out:
        for name in sorted(source.namelist())[::2]:
            out.writestr(name, source.read(name))
    half.replace(whole)


def _photographs(data: Path, project: Path, epochs: int, backbone: dict[str, Any]) -> None:
    real_images.prepare("clothing", data / "clothing", project, ())
    settings = {"backbone": backbone, "epochs": epochs, "batch_size": 64}
    change(project, ingest={"canvas": SIDE + 8}, augment={"views": VIEWS}, pretrain=settings)


PROJECTS: dict[str, Callable[[Path, Path, int], None]] = {
    "digits": digits,
    "cifar10": cifar10,
    "clothing": clothing,
    "clothing-vit": clothing_vit,
}


def judge(project: Path) -> dict[str, Any]:
    """Evaluate variants as linear_eval does, but without the baselines, which take most of its time."""
    settings, backbone = load(project / "params.yaml").linear_eval, project / EXPORT / "backbone.onnx"
    data, variants = read_labelled(project / STORE), open_variants(backbone)
    encoder, card = load_encoder(load_registry(), project / PRETRAIN)
    embed = Kept(partial(run, open_session(backbone)))
    entered: dict[str, list[Embed]] = {BACKBONE: [embed], **{name: [one] for name, one in variants.embeds.items()}}
    settled = settle(entered, data.train, data.val, settings.strengths, len(data.classes), variants.embeds)
    predictions = predict(settled, data.test, settings.knn)
    _, judged = set_apart(figures(settled, predictions, data.test, settings), variants)
    network, some = FromPixels(card, embedding(encoder, l2_normalize=True)), data.train.split.images(np.arange(32))
    time = partial(time_files, network=network, images=some)
    return study_variants(settings, embed, variants, data, judged, time)


def rows(name: str, project: Path) -> list[str]:
    """Return the rows of the table for a project."""
    export = json.loads((project / "reports/export/details.json").read_text())["variants"]
    linear = judge(project)
    lines = []
    for variant, found in linear["files"].items():
        gate = export.get(variant, {}).get("gate", {"size": 1.0, "mean_cosine": 1.0, "min_cosine": 1.0, "recall": 1.0})
        times = [f"{found['latency'][size]['of_torch']:.2f}" for size in ("1", "32")]
        gaps = [gained(found["difference"]["knn"]), gained(found["difference"])] if "difference" in found else ["", ""]
        cells = [name, variant, f"{gate['size']:.2f}", *times]
        cells += [f"{gate['mean_cosine']:.5f} ({gate['min_cosine']:.5f})", f"{gate['recall']:.3f}", *gaps]
        lines.append(f"| {' | '.join(cells)} | {'yes' if variant == linear['recommended'] else ''} |")
    return lines


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--only", type=click.Choice(list(PROJECTS)), multiple=True, help="Project; all by default.")
@click.option("--epochs", default=1, show_default=True, help="Number of epochs for all but digits.")
def main(data: Path, folder: Path, only: tuple[str, ...], epochs: int) -> None:
    """Train an encoder for each project, and print the losses, sizes and times of its variants."""
    lines = []
    for name in only or PROJECTS:
        project = folder / name
        if not (project / "models/pretrain").exists():
            project.mkdir(parents=True, exist_ok=True)
            PROJECTS[name](data, project, epochs)
            change(project, export={"variants": ["fp32", "fp16", "int8"], "on_gate_failure": "drop"})
            for step in STAGES:
                stage(project, step)
        stage(project, "export")
        lines += rows(name, project)
    click.echo("\n".join([COLUMNS, "|---|---|" + "---:|" * 7 + "---|", *lines]))


if __name__ == "__main__":
    main()
