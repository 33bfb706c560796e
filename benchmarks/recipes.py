"""Every recipe against the random encoder: `python -m benchmarks.recipes FOLDER ROWS TABLE [--seeds 3]`.

FOLDER holds cifar10/ and clothing/ as benchmarks.real_images has them. Each recipe learns from the same images, with
the same backbone, views and number of images seen, at several seeds, and its exported file is judged by its nearest
neighbours on the test images, beside encoders of as many seeds that are random but for calibrated batch norms. Each run
is a line of ROWS, and one that is there already is not run again. TABLE is the table of all, in Markdown.

What is measured of `pretrain`: images seen a second of the whole stage, its start and its graph included, of the seed
that other programs disturbed least, and its peak memory, that of the libraries included.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.project import ROOT, change, environment
from benchmarks.real_images import prepare
from plugins import load_registry
from ssl_pipeline.data.store import open_split
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.evaluation import knn
from ssl_pipeline.evaluation.baselines import random_encoder
from ssl_pipeline.evaluation.features import Embed, extract, labelled
from ssl_pipeline.evaluation.intervals import Interval, bootstrap
from ssl_pipeline.models.rebuild import read_card
from stages.paths import EXPORT, PRETRAIN, REPORTS, STORE

EPOCHS = {"cifar10": 5, "clothing": 20}  # 42,500 and 61,360 images seen: the fewer there are, the longer
BATCH = {"cifar10": 256, "clothing": 128}  # few images in large batches would be few steps
RANDOM = "random encoder"
RESAMPLES = 1000

Row = dict[str, Any]


def judged(embed: Embed, store: Path) -> Interval:
    """Accuracy of the nearest neighbours on the test images, those of training and validation being the bank."""
    settings = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["linear_eval"]["knn"]
    train, test = labelled(store, "train"), labelled(store, "test")
    predicted = knn.predict(extract(embed, train), train.labels, extract(embed, test), **settings)
    return bootstrap(test.labels, {"knn": predicted}, RESAMPLES, seed=0).interval("knn", "accuracy")


def stage(project: Path, name: str) -> tuple[float, float]:
    """Run a stage; return its seconds and its peak memory in MB."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", f"stages.{name}"], cwd=project, env=environment()) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1e3


def trained(project: Path, store: Path, recipe: str, seed: int, epochs: int) -> Row:
    change(project, pretrain={"recipe": recipe, "seed": seed})
    seconds, megabytes = stage(project, "pretrain")
    stage(project, "export")
    seen = epochs * len(open_split(store, "train"))
    warnings = json.loads((project / REPORTS / "pretrain" / "warnings.json").read_text())
    figures = judged(partial(run, open_session(project / EXPORT / "backbone.onnx")), store)
    return {
        **figures._asdict(),
        "images_a_second": seen / seconds,
        "megabytes": megabytes,
        "warnings": [found["warning"] for found in warnings],
    }


def untrained(project: Path, store: Path, seed: int) -> Row:
    pool = open_split(store, "train")
    return judged(random_encoder(load_registry(), read_card(project / PRETRAIN), True, seed, pool), store)._asdict()


def missing(rows: list[Row], data: str, seeds: int, only: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """What has not been run: recipes first, since the random encoder is made to the measure of one."""
    known = {(row["data"], row["recipe"], row["seed"]) for row in _current(rows, data)}
    for seed in range(seeds):
        for recipe in only or [*load_registry().names("recipe"), RANDOM]:
            if (data, recipe, seed) not in known:
                yield recipe, seed


def measure(
    folder: Path, data: str, rows: list[Row], seeds: int, only: Sequence[str], keep: Callable[[Row], None]
) -> None:
    epochs = EPOCHS[data]
    wanted = list(missing(rows, data, seeds, only))
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        sizes = {"epochs": epochs, "warmup_epochs": 1, "batch_size": BATCH[data]}
        prepare(data, folder / data, project, tuple(f"pretrain.{key}={value}" for key, value in sizes.items()))
        stage(project, "augment")
        store = project / STORE
        for recipe, seed in wanted:
            if recipe != RANDOM:
                found = trained(project, store, recipe, seed, epochs)
            else:
                if not (project / PRETRAIN).exists():  # all the rest was there already
                    trained(project, store, "simclr", seed, epochs)
                found = untrained(project, store, seed)
            keep({"data": data, "epochs": epochs, "recipe": recipe, "seed": seed, **found})


def table(rows: list[Row], data: str) -> str:
    """Markdown: a line for each recipe, the best first, and the random encoder's."""
    of: dict[str, list[Row]] = {}
    for row in _current(rows, data):
        of.setdefault(row["recipe"], []).append(row)
    base = of.pop(RANDOM, [])
    ceiling = max((row["high"] for row in base), default=math.inf)
    lines = [
        "| recipe | kNN, mean of seeds | least and largest bound | above random | images/s | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in sorted(of.items(), key=lambda item: -mean(item[1], "value")):
        floor = min(row["low"] for row in found)
        speed, memory = (max(row[key] for row in found) for key in ("images_a_second", "megabytes"))
        lines.append(
            f"| `{name}` | {_accuracy(found)} | {'yes' if floor > ceiling else 'no'} | {speed:.0f} | {memory:.0f} MB |"
        )
    return "\n".join(lines + [f"| {RANDOM} | {_accuracy(base)} | | | |"] * bool(base))


def _current(rows: list[Row], data: str) -> list[Row]:
    """Those of these images, and of as many epochs as there are now."""
    return [row for row in rows if (row["data"], row["epochs"]) == (data, EPOCHS[data])]


def mean(rows: list[Row], key: str) -> float:
    return float(sum(row[key] for row in rows) / len(rows))


def _accuracy(rows: list[Row]) -> str:
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    return f"{mean(rows, 'value'):.1%} | {low:.1%} to {high:.1%}"


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.argument("kept", metavar="ROWS", type=click.Path(path_type=Path))
@click.argument("written", metavar="TABLE", type=click.Path(path_type=Path))
@click.option("--seeds", type=int, default=3)
@click.option("--data", type=click.Choice(list(EPOCHS)), multiple=True, default=list(EPOCHS), help="These alone.")
@click.option("--recipe", "only", multiple=True, help=f"These alone; '{RANDOM}' is one of them.")
def main(folder: Path, kept: Path, written: Path, seeds: int, data: Sequence[str], only: Sequence[str]) -> None:
    """Run what is missing in ROWS on the images in FOLDER, and write TABLE."""
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []

    def keep(row: Row) -> None:
        rows.append(row)
        with kept.open("a") as out:
            out.write(json.dumps(row) + "\n")

    for name in data:
        measure(folder, name, rows, seeds, only, keep)
    tables = [f"## {name}, {EPOCHS[name]} epochs, {seeds} seeds\n\n{table(rows, name)}\n" for name in data]
    written.write_text("\n".join(tables))


if __name__ == "__main__":
    main()
