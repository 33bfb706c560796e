"""Large batches: `python -m benchmarks.large_batches FOLDER` makes the tables and the picture of docs/large_batches.md.

FOLDER contains cifar10/ and emoji/. A small ResNet learns from the same images, 24 px wide, in batches of 128 to 8,192,
with three losses: one with negatives (InfoNCE), one that corrects for false negatives (debiased), and one without
negatives (VICReg). Batches are compared at equal images (each image is seen equally often, so large batches take few
steps) and at equal steps (as many as batches of 2,048 take, so larger batches see more images). The learning rate is
proportional to the square root of the batch size, as suits AdamW.

All runs encode 128 images at once (`pretrain.micro_batch`). Batch norms of the backbone thus compute their statistics
from the same number of images with every batch size, and runs differ only in what the loss compares. Up to half a GiB
of activations is kept for gradients; the other micro-batches are encoded twice. Each run is a separate process with one
thread, and a line of docs/large_batches.jsonl; runs that already have a line are not repeated. Time is the processor
time of training, memory the peak of the process up to its end. `one pass` is the memory of a step of InfoNCE without
micro-batches.
"""

import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import click
import numpy as np
import numpy.typing as npt
import torch
import yaml

from benchmarks.large_batches_page import BASELINE, LOSSES, ONE_PASS, Row, write_page
from benchmarks.peer import first, store_of
from benchmarks.project import ROOT, commit, environment
from benchmarks.race import unpack
from benchmarks.real_images import VIEWS
from ssl_pipeline.augment.policy import Policies, Policy
from ssl_pipeline.config import LinearEvalConfig, PretrainConfig, load
from ssl_pipeline.data.labelled import read_labelled
from ssl_pipeline.data.labels import read_labels
from ssl_pipeline.evaluation.calibration import calibrate
from ssl_pipeline.evaluation.clusters.study import study_clusters
from ssl_pipeline.evaluation.features import extract
from ssl_pipeline.evaluation.linear import knn
from ssl_pipeline.evaluation.seen_images import choose_seen
from ssl_pipeline.evaluation.statistics.intervals import score
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import method_of
from ssl_pipeline.training import micro_batches, optimization, preparation, pretraining
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.precision import best_device, resolve_precision
from ssl_pipeline.types import Encoder

ROWS, PAGE = ROOT / "docs" / "large_batches.jsonl", ROOT / "docs" / "large_batches.md"
SIDE, MICRO_BATCH = 24, 128
FREE = 2**30
"""Bytes of memory that are assumed to be free; half of them hold activations of micro-batches for their gradients."""
PER_CLASS = 870
"""Training images per class of CIFAR-10, of which ingest holds some back for validation."""
BACKBONE = {"name": "resnet_cifar", "depth": 8, "width": 8}
RATE, OF_BATCH = 2e-3, 256


class Study(NamedTuple):
    """A set of images, and the runs on it.

    Attributes:
        images: Number of training images.
        batches: Batch sizes.
        middle: Batch size whose number of steps all runs take at equal steps.
        epochs: Number of times that each image is seen at equal images.
    """

    images: int
    batches: tuple[int, ...]
    middle: int
    epochs: int


STUDIES = {"cifar10": Study(8192, (128, 512, 2048, 8192), 2048, 4), "emoji": Study(2048, (128, 512, 2048), 2048, 16)}
MEMORY_OF = "cifar10"
"""Set of images for the runs in one pass; the choice makes no difference to memory."""


class Run(NamedTuple):
    """The values that identify a run."""

    data: str
    loss: str
    batch: int
    steps: int
    seed: int


def runs(data: str, seed: int) -> Iterator[Run]:
    """Yield the runs of a seed, those that see the fewest images first."""
    images, batches, middle, epochs = STUDIES[data]
    seen = images * epochs
    sizes = {(batch, steps) for batch in batches for steps in (seen // batch, seen // middle)}
    yield Run(data, BASELINE, middle, 0, seed)
    for batch, steps in sorted(sizes, key=lambda size: (size[0] * size[1], size)):
        yield from (Run(data, loss, batch, steps, seed) for loss in LOSSES)
    if data == MEMORY_OF:
        yield from (Run(data, ONE_PASS, batch, 1, seed) for batch in batches)


def measured(run: Run, store: Path) -> Row:
    """Train in this process; return accuracy, clusters and cost.

    The untrained encoder has no cost, and a run in one pass has only a cost.
    """
    registry, usual = load_registry(), load(ROOT / "params.yaml").pretrain.model_dump()
    seen = max(run.batch * run.steps, run.batch)
    pool = first(read_labelled(store).train.split, min(seen, STUDIES[run.data].images))
    values = {
        "recipe": "simclr",
        "backbone": BACKBONE,
        "batch_size": run.batch,
        "micro_batch": run.batch if run.loss == ONE_PASS else min(MICRO_BATCH, run.batch),
        "optimizer": {**usual["optimizer"], "learning_rate": RATE * (run.batch / OF_BATCH) ** 0.5},
        "epochs": seen // len(pool),
        "seed": run.seed,
        "on_collapse": "warn",
    }
    section = PretrainConfig.model_validate(usual | values | LOSSES.get(run.loss, {}))
    method = method_of(registry, section)
    policies = {kind: Policy.model_validate({**policy, "size": SIDE}) for kind, policy in VIEWS.items()}
    task = preparation.build(registry, method.recipe, method.pretrain, pool, policies)
    if run.loss == BASELINE:
        images = torch.from_numpy(pool.images(np.arange(len(pool)))).permute(0, 3, 1, 2) / 255
        calibrate(task.encoder, list(images.split(OF_BATCH)))
        return judged(task.encoder, store, policies)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as scratch, patch.object(micro_batches, "free_memory", lambda device: FREE):
        history = pretraining.train(
            task,
            pool,
            policies,
            method.pretrain,
            partial(optimization.build_optimizer, registry, method.pretrain.optimizer),
            resolve_precision("auto", best_device()),
            Checkpoints(Path(scratch) / "work", "f" * 64, {}),
        )
    cost = {
        "seconds": round(time.process_time() - began, 1),
        "MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
        "warnings": [found["kind"] for found in history.warnings],
    }
    return cost if run.loss == ONE_PASS else judged(task.encoder, store, policies) | cost


def judged(encoder: Encoder, store: Path, policies: dict[str, Policy]) -> Row:
    """Judge an encoder by kNN on the test images, and by clusters of training and validation images."""
    encoder.eval()

    def embed(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            pixels = torch.from_numpy(images).to(next(encoder.parameters()).device).permute(0, 3, 1, 2) / 255
            features: npt.NDArray[np.float32] = encoder(pixels).cpu().numpy()
        return features

    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["linear_eval"]
    settings = LinearEvalConfig.model_validate(content)
    train, val, test, names = read_labelled(store)
    bank, asked = (extract(embed, part) for part in (train, test))
    given = knn.predict(bank, train.labels, asked, settings.knn.k, settings.knn.temperature)
    known = (read_labels(store, "train"), read_labels(store, "val"))
    seen = choose_seen((train.split, val.split), known, settings.clusters.images)
    found = study_clusters(settings.clusters, embed, seen, names, Policies(seed=0, views=policies), settings.seed)
    accuracy = score(test.labels, {"knn": given}, test.groups, resamples=1, seed=0).interval("knn", "accuracy")
    at_k_star = found.figures.get("at_k_star", {})
    return {
        "knn": round(accuracy.value, 4),
        "interval": [round(accuracy.low, 4), round(accuracy.high, 4)],
        "test": len(test),
        "bank": len(train),
        "verdict": found.figures["verdict"],
        "k_star": found.figures["k_star"],
        "homogeneity": round(found.figures.get("homogeneity_above_chance", float("nan")), 4),
        "completeness": round(at_k_star.get("completeness", float("nan")), 4),
    }


def stored(data: str, folder: Path, scratch: Path) -> Path:
    """Ingest the images; return the path of the store.

    The splits of the emoji set share identical pictures, which ingest refuses. The column `split` is therefore dropped
    from labels.csv, and ingest makes its own splits.
    """
    images = scratch / f"{data}_images"
    if data == "cifar10":
        unpack(folder / data, images, PER_CLASS)
    else:
        with zipfile.ZipFile(folder / data / f"{data}.zip") as archive:
            archive.extractall(images)
        table = images / "labels.csv"
        with table.open(encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
        with table.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, ("path", "label", "group"), extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    return store_of(scratch / data, images, SIDE)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", "names", type=click.Choice([*STUDIES]), multiple=True, default=[*STUDIES], show_default=True)
@click.option("--seeds", default=1, show_default=True, help="Number of seeds.")
@click.option("--only", help="Measure only the run with these values (JSON); FOLDER is its store.", hidden=True)
def main(folder: Path, names: tuple[str, ...], seeds: int, only: str | None) -> None:
    """Make the runs that have no row yet, on the images in FOLDER, and update the page."""
    torch.set_num_threads(1)
    if only is not None:
        print(json.dumps(measured(Run(**json.loads(only)), folder)))
        return
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()] if ROWS.exists() else []
    wanted = [run for seed in range(seeds) for name in names for run in runs(name, seed)]
    missing = [run for run in wanted if run not in {Run(*(row[key] for key in Run._fields)) for row in rows}]
    made_by = commit()
    with tempfile.TemporaryDirectory() as scratch:
        stores = {name: stored(name, folder, Path(scratch)) for name in sorted({run.data for run in missing})}
        for run in missing:
            words = [sys.executable, "-m", "benchmarks.large_batches", str(stores[run.data])]
            words += ["--only", json.dumps(run._asdict())]
            done = subprocess.run(words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
            row = {**run._asdict(), **json.loads(done.stdout), "commit": made_by}
            rows.append(row)
            click.echo(json.dumps(row))
            with ROWS.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
    write_page(PAGE, rows, {name: study.images * study.epochs for name, study in STUDIES.items()})


if __name__ == "__main__":
    main()
