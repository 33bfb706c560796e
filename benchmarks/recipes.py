"""Every recipe against the random encoder: `python -m benchmarks.recipes FOLDER ROWS TABLE [--seeds 3]`.

FOLDER holds cifar10/ and clothing/ as benchmarks.real_images has them. Each recipe learns from the same images, with
the same backbone where it can, views and number of images seen, at several seeds, and its exported file is judged on
the test images, beside encoders of as many seeds that are random but for calibrated batch norms. Each run is a line of
ROWS, and one that is there already is not run again; several of these can run at a time, with other recipes and ROWS,
which are then put together. TABLE is the table of all, in Markdown.

What is measured of `pretrain`: images seen a second of the whole stage, its start and its graph included, of the seed
that other programs disturbed least, and its peak memory, that of the libraries included.
"""

import json
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

from benchmarks.judgement import judge, judge_layers
from benchmarks.project import BACKBONES, ROOT, change, environment
from benchmarks.real_images import prepare
from benchmarks.recipe_tables import RANDOM, Row, table
from plugins import load_registry
from ssl_pipeline.config import load
from ssl_pipeline.data.store import open_split
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.evaluation.baselines import calibrate_on, random_encoder
from ssl_pipeline.models.rebuild import load_encoder, untrained
from stages.paths import EXPORT, PRETRAIN, REPORTS, STORE

EPOCHS = {"cifar10": 5, "clothing": 20}  # 42,500 and 61,360 images seen: the fewer there are, the longer
BATCH = {"cifar10": 256, "clothing": 128}  # few images in large batches would be few steps
OWN: dict[str, dict[str, Any]] = {
    **{name: {"backbone": backbone} for name, backbone in BACKBONES.items()},
    "flip": {"pretext_task": {"view": "upright"}},
}
"""Recipe -> what of `pretrain` it has to have otherwise than the others."""


def random_of(recipe: str) -> str:
    """The name of the rows of random encoders that a recipe is held against."""
    return f"{RANDOM}, {recipe}" if recipe in BACKBONES else RANDOM


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
    usual = load(ROOT / "params.yaml").pretrain.model_dump(mode="json", include={"backbone", "pretext_task"})
    change(project, pretrain={**usual, "recipe": recipe, "seed": seed, **OWN.get(recipe, {})})
    seconds, megabytes = stage(project, "pretrain")
    stage(project, "export")
    seen = epochs * len(open_split(store, "train"))
    reports = project / REPORTS / "pretrain"
    curves = json.loads((reports / "metrics.json").read_text())
    return {
        **judge(partial(run, open_session(project / EXPORT / "backbone.onnx")), store),
        **judge_layers(*load_encoder(load_registry(), project / PRETRAIN), store),
        "alignment": curves["alignment"],
        "images_a_second": seen / seconds,
        "megabytes": megabytes,
        "warnings": [found["warning"] for found in json.loads((reports / "warnings.json").read_text())],
    }


def random(project: Path, store: Path, seed: int) -> Row:
    """An encoder with random weights, to the measure of the one that was trained last."""
    registry, pool = load_registry(), open_split(store, "train")
    _, card = load_encoder(registry, project / PRETRAIN)

    return {
        **judge(random_encoder(registry, card, True, seed, pool), store),
        **judge_layers(untrained(registry, card, seed), card, store, partial(calibrate_on, pool=pool)),
    }


def missing(rows: list[Row], data: str, batch: int, seeds: int, only: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """What has not been run: a random encoder follows a recipe that has its backbone."""
    known = {(row["recipe"], row["seed"]) for row in current(rows, data, batch)}
    wanted: dict[tuple[str, int], None] = {}
    for seed in range(seeds):
        for recipe in only or load_registry().names("recipe"):
            wanted |= {(recipe, seed): None, (random_of(recipe), seed): None}
    yield from (run for run in wanted if run not in known)


def measure(
    folder: Path,
    data: str,
    batch: int,
    rows: list[Row],
    seeds: int,
    only: Sequence[str],
    keep: Callable[[Row], None],
) -> None:
    epochs = EPOCHS[data]
    wanted = list(missing(rows, data, batch, seeds, only))
    if not wanted:
        return
    with tempfile.TemporaryDirectory() as temporary:
        project, last = Path(temporary) / "project", ""
        sizes = {"epochs": epochs, "warmup_epochs": 1, "batch_size": batch}
        prepare(data, folder / data, project, tuple(f"pretrain.{key}={value}" for key, value in sizes.items()))
        stage(project, "augment")
        store = project / STORE
        for recipe, seed in wanted:
            if recipe.startswith(RANDOM):
                like = recipe.removeprefix(RANDOM).removeprefix(", ") or "simclr"
                if random_of(last) != recipe:  # all the rest was there already
                    trained(project, store, like, seed, epochs)
                    last = like
                found = random(project, store, seed)
            else:
                found, last = trained(project, store, recipe, seed, epochs), recipe
            keep({"data": data, "epochs": epochs, "batch_size": batch, "recipe": recipe, "seed": seed, **found})


def current(rows: list[Row], data: str, batch: int) -> list[Row]:
    """Those of these images, in batches of this size, and of as many epochs as there are now."""
    return [row for row in rows if (row["data"], row["epochs"], row["batch_size"]) == (data, EPOCHS[data], batch)]


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.argument("kept", metavar="ROWS", type=click.Path(path_type=Path))
@click.argument("written", metavar="TABLE", type=click.Path(path_type=Path))
@click.option("--seeds", type=int, default=3)
@click.option("--data", type=click.Choice(list(EPOCHS)), multiple=True, default=list(EPOCHS), help="These alone.")
@click.option("--recipe", "only", multiple=True, help="These alone.")
@click.option("--batch-size", type=int, help="Another one than the images' own.")
def main(
    folder: Path,
    kept: Path,
    written: Path,
    seeds: int,
    data: Sequence[str],
    only: Sequence[str],
    batch_size: int | None,
) -> None:
    """Run what is missing in ROWS on the images in FOLDER, and write TABLE."""
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []

    def keep(row: Row) -> None:
        rows.append(row)
        with kept.open("a") as out:
            out.write(json.dumps(row) + "\n")

    tables = []
    for name in data:
        batch = batch_size or BATCH[name]
        measure(folder, name, batch, rows, seeds, only, keep)
        title = f"## {name}, {EPOCHS[name]} epochs, batches of {batch}, {seeds} seeds"
        tables.append(f"{title}\n\n{table(current(rows, name, batch), random_of)}\n")
    written.write_text("\n".join(tables))


if __name__ == "__main__":
    main()
