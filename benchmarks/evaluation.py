"""Time of the linear evaluation, compared with the bare passes that it needs: `python -m benchmarks.evaluation`.

The images are views of the bundled digits, the same number for training and for validation, and half as many for
testing. The encoder is a ResNet-8 with random weights, or a ResNet-18 (`--large`), which takes hours. Evaluation and
passes alternate in one process (see `benchmarks.interleaved`). The output is a JSON object.

A bare pass reads the images of a split in batches, runs a network on them, and collects its features. The evaluation
needs these passes: the exported file over all images; the encoder with all its layers over training and validation
images; the file over other views; each random encoder over training and validation images, after calibration of its
batch norms where it is calibrated; and one random encoder of each kind over the test images. Raw pixels and colour
histograms are computed once as well.
"""

import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import yaml
from sklearn.datasets import load_digits

from benchmarks.interleaved import faster
from benchmarks.project import ROOT
from ssl_pipeline.artifacts.assembly import build_encoder, untrained
from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.augment.display import stored
from ssl_pipeline.augment.policy import Policies, Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.config import Choice, LinearEvalConfig
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.data.labelled import Labelled, LabelledSplits
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.evaluation.calibration import calibrate_on
from ssl_pipeline.evaluation.features import Embed, Kept, embedder, sample
from ssl_pipeline.evaluation.linear.baselines import colour_histogram, raw_pixels
from ssl_pipeline.evaluation.linear.inputs import LinearInputs
from ssl_pipeline.evaluation.linear.layers import EveryLayer
from ssl_pipeline.evaluation.linear.study import RANDOM_DRAWS, study_embeddings
from ssl_pipeline.evaluation.linear.variants import Variants
from ssl_pipeline.evaluation.seen_images import SeenImages, SeenViews
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import Recipe

TARGET = 1.15
BATCH = 256
SMALL: dict[str, Any] = {"name": "resnet_cifar", "depth": 8, "width": 16}
LARGE: dict[str, Any] = {"name": "torchvision/resnet18", "stem": "small"}
MEAN, STD = (0.3, 0.3, 0.3), (0.37, 0.37, 0.37)


def split(name: str, count: int, side: int) -> Labelled:
    """Return a split of `count` different views of digits; the same digit occurs in many views."""
    digits, classes = load_digits(return_X_y=True)
    seed = {"train": 0, "val": 1, "test": 2}[name]
    chosen = np.random.default_rng(seed).integers(0, len(digits), count)
    grey = (digits.reshape(-1, 8, 8, 1) * 15.9375).round().astype(np.uint8)
    policy = Policy.model_validate(
        {"size": side, "random_resized_crop": {"p": 1.0, "scale": [0.7, 1.0], "ratio": [0.85, 1.18]}}
    )
    ids = np.arange(count, dtype=np.uint64)
    blocks = []
    for part in np.array_split(np.arange(count), -(-count // 1024)):
        canvases = torch.from_numpy(np.repeat(grey[chosen[part]], 3, axis=3))
        blocks.append(stored(make_views({"v": policy}, {"v": 1}, canvases, ids[part], seed, 0)["v"][:, 0], RGB8))
    rows = np.arange(count)
    pool = Split(name, side, ids, MEAN, STD, f"{name} of {count}", (np.concatenate(blocks),))
    return Labelled(pool, rows, classes[chosen], rows)


def prepare(folder: Path, count: int, side: int, backbone: Choice) -> tuple[LinearEvalConfig, LinearInputs]:
    """Export a backbone, and open everything that the linear evaluation reads."""
    data = LabelledSplits(
        split("train", count, side), split("val", count, side), split("test", count // 2, side), tuple("0123456789")
    )
    registry = load_registry()
    encoder = build_encoder(registry, backbone, MEAN, STD, 0, side).eval()
    card = ModelCard(
        backbone=backbone,
        recipe=Recipe(name="rotation", pretext_task=Choice(name="rotation")),
        embedding_dim=encoder.embedding_dim,
        size=side,
        resize="squash",
        background=(255, 255, 255),
        mean=MEAN,
        std=STD,
        seed=0,
        batch_size=BATCH,
        weights_sha256="",
        params_sha256="",
        plugins={},
        versions=versions(),
    )
    calibrate_on(FromPixels(card, encoder), data.train.split)
    path = folder / "backbone.onnx"
    export_backbone(encoder, card, path, l2_normalize=True, opset=18)
    settings = LinearEvalConfig.model_validate(yaml.safe_load((ROOT / "params.yaml").read_text())["linear_eval"])
    views = {
        "plain": Policy.model_validate(
            {"size": side, "random_resized_crop": {"p": 1.0, "scale": [0.7, 1.0], "ratio": [0.85, 1.18]}}
        )
    }
    positions = sample(range(2 * count), settings.clusters.images)
    labels = np.concatenate([data.train.labels, data.val.labels])[positions]
    seen = SeenImages(
        (data.train.split, data.val.split), positions // count, positions % count, labels, np.arange(len(positions))
    )
    inputs = LinearInputs(
        data=data,
        seen=seen,
        policies=Policies(seed=0, views=views),
        registry=registry,
        encoder=encoder,
        card=card,
        start=None,
        task=None,
        backbone=path,
        backbone_sha256="",
        embed=Kept(partial(run, open_session(path, torch.get_num_threads()))),
        layer=None,
        l2_normalize=True,
        rivals={},
        variants=Variants({}, {}),
        texts=None,
        cost={},
    )
    return settings, inputs


def passes(settings: LinearEvalConfig, inputs: LinearInputs) -> None:
    """Run the bare passes and nothing else."""
    train, val, test = (part.split for part in inputs.data[:3])
    file = inputs.embed
    for part in (train, val, test):
        one_pass(file, part, len(part))
    every = embedder(FromPixels(inputs.card, EveryLayer(inputs.encoder, True, {None})))
    for part in (train, val):
        one_pass(every, part, len(part))
    views = SeenViews(inputs.seen, inputs.policies, settings.clusters.view)
    one_pass(file, views, len(views))
    for calibrated in (True, False):
        for seed in range(RANDOM_DRAWS):
            network = FromPixels(inputs.card, embedding(untrained(inputs.registry, inputs.card, seed), True))
            if calibrated:
                calibrate_on(network, train)
            for part in (train, val) if seed else (train, val, test):  # one of them is run on the test images
                one_pass(embedder(network), part, len(part))
    for features in (raw_pixels, colour_histogram):
        for part in (train, val, test):
            one_pass(features, part, len(part))


def one_pass(embed: Embed, images: Any, count: int) -> None:
    np.concatenate([embed(images.images(np.arange(a, min(a + BATCH, count)))) for a in range(0, count, BATCH)])


@click.command()
@click.option("--images", "count", default=10_000, show_default=True, help="Number of training (validation) images.")
@click.option("--side", default=16, show_default=True, help="Side of the images, px.")
@click.option("--rounds", default=2, show_default=True, help="Number of rounds of four runs, after two warm-up runs.")
@click.option("--large", is_flag=True, help="Use a ResNet-18 instead of the ResNet-8.")
@click.option("--width", default=SMALL["width"], show_default=True, help="Width of the ResNet-8.")
def main(count: int, side: int, rounds: int, large: bool, width: int) -> None:
    """Print the ratio of the time of the linear evaluation to that of its passes."""
    backbone = Choice.model_validate(LARGE if large else {**SMALL, "width": width})
    with tempfile.TemporaryDirectory() as folder:
        settings, inputs = prepare(Path(folder), count, side, backbone)

        def evaluate() -> None:
            study_embeddings(settings, replace(inputs, embed=Kept(inputs.embed)))  # no features from an earlier round

        found = faster(partial(passes, settings, inputs), evaluate, rounds)
    line = {
        "what": "linear evaluation, to the sum of its passes",
        "images": [count, count],
        "side": side,
        "backbone": backbone.model_dump(),
        "target": TARGET,
        "ratio": found["median"],
        "quartiles": found["quartiles"],
        "rounds": rounds,
        "seconds": {"evaluation": round(found["s"]["theirs"], 2), "passes": round(found["s"]["ours"], 2)},
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
