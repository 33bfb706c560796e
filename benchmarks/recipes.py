"""Recipes side by side: `python -m benchmarks.recipes FOLDER` makes the tables and pictures of docs/recipes.md.

FOLDER contains cifar10/ and clothing/, as described in benchmarks.real_images. Recipes that need captions, clips or a
teacher are left out. All others learn from the same images, with the same backbone where possible, the same views and
the same number of images seen. The exported files are judged on the test images, and compared with random encoders with
calibrated batch norms, with the same number of seeds. Each run is a line of docs/recipes.jsonl; runs that already have
a line are not repeated. Several processes can run at the same time if each has its own `--rows` and `--page`.

Small batches take more steps for the same number of images; the learning rate is proportional to the square root of the
batch size, as suits AdamW. Recipes that are not above the random encoders with every seed also run with more steps: on
CIFAR-10 in smaller batches, on clothing for more epochs.

Two figures of the stage `pretrain` are measured: images seen per second of processor time of the whole stage, including
its start and the export of its graph, with one thread, so that other programs hardly affect it; and its peak memory,
including the libraries. For pretext tasks, which do not compare embeddings, the best layer is determined as well.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click

from benchmarks.judgement import Row, judge, judge_layers
from benchmarks.project import BACKBONES, OF_CLIPS, READ_CAPTIONS, ROOT, TAUGHT, change, commit
from benchmarks.real_images import prepare
from benchmarks.recipe_page import write_page
from benchmarks.recipe_tables import RANDOM, not_above, random_of
from benchmarks.stage import stage
from ssl_pipeline.artifacts.assembly import untrained
from ssl_pipeline.artifacts.files import load_encoder
from ssl_pipeline.config import load
from ssl_pipeline.data.store import open_split
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.evaluation.calibration import calibrate_on
from ssl_pipeline.evaluation.linear.baselines import random_encoder
from ssl_pipeline.loading import load_registry
from ssl_pipeline_stages.paths import EXPORT, PRETRAIN, REPORTS, STORE

RECIPES = [name for name in load_registry().names("recipe") if name not in (*READ_CAPTIONS, *OF_CLIPS, *TAUGHT)]


class Budget(NamedTuple):
    """Training budget of a recipe.

    Attributes:
        epochs: Number of epochs.
        batch_size: Number of images per step.
        seeds: Number of seeds.
    """

    epochs: int
    batch_size: int
    seeds: int


USUAL = {"cifar10": Budget(5, 256, 3), "clothing": Budget(20, 128, 3)}
"""165 and 460 steps; the few images of clothing would give fewer steps in larger batches."""
BATCHES = {size: Budget(USUAL["cifar10"].epochs, size, 1) for size in (512, 256, 32)}
"""Batch size -> budget on CIFAR-10."""
LONGER = {"cifar10": Budget(5, 32, 3), "clothing": Budget(60, 128, 1)}
"""1,325 and 1,380 steps, for recipes that are not above the random encoders after the usual budget: on CIFAR-10 by
smaller batches of the same images, on the few images of clothing by more epochs."""
OWN: dict[str, dict[str, Any]] = {
    **{name: {"backbone": backbone} for name, backbone in BACKBONES.items()},
    "flip": {"pretext_task": {"view": "upright"}},
}
"""Recipe -> values of `pretrain` that it needs instead of the usual ones."""


def trained(project: Path, store: Path, recipe: str, seed: int, epochs: int, on_collapse: str = "stop") -> Row:
    usual = load(ROOT / "params.yaml").pretrain.model_dump(mode="json", include={"backbone", "pretext_task"})
    own = {"recipe": recipe, "seed": seed, "on_collapse": on_collapse, **OWN.get(recipe, {})}
    change(project, pretrain={**usual, **own})
    used = stage(project, "pretrain")
    stage(project, "export")
    size = load(project / "params.yaml").pretrain.batch_size
    seen = epochs * (len(open_split(store, "train")) // size * size)
    reports = project / REPORTS / "pretrain"
    curves = json.loads((reports / "details.json").read_text())
    encoder, card = load_encoder(load_registry(), project / PRETRAIN)
    return {
        **judge(partial(run, open_session(project / EXPORT / "backbone.onnx")), store),
        **({} if card.recipe.loss else judge_layers(encoder, card, store)),
        "alignment": curves["alignment"],
        "images_a_second": seen / used["seconds"],
        "megabytes": used["megabytes"],
        "warnings": [found["warning"] for found in json.loads((reports / "warnings.json").read_text())],
    }


def random(project: Path, store: Path, seed: int) -> Row:
    """Judge an encoder with random weights, with the architecture of the encoder that was trained last."""
    registry, pool = load_registry(), open_split(store, "train")
    _, card = load_encoder(registry, project / PRETRAIN)

    return {
        **judge(random_encoder(registry, card, True, seed, pool), store),
        **judge_layers(untrained(registry, card, seed), card, store, partial(calibrate_on, pool=pool)),
    }


def missing(known: Sequence[Row], recipes: Sequence[str], seeds: int, beside: bool) -> list[tuple[str, int]]:
    """Return the recipes and seeds without a row; with `beside`, also the random encoders for their backbones."""
    wanted: dict[tuple[str, int], None] = {}
    for seed in range(seeds):
        for recipe in recipes:
            wanted |= {(recipe, seed): None} | ({(random_of(recipe), seed): None} if beside else {})
    return [run for run in wanted if run not in {(row["recipe"], row["seed"]) for row in known}]


def measure(
    folder: Path, data: str, budget: Budget, wanted: Sequence[tuple[str, int]], keep: Callable[[Row], None]
) -> None:
    """Train recipes on the images in a folder, and pass each row to `keep` as soon as it is complete.

    Args:
        folder: Folder of the sets of images.
        data: Set of images.
        budget: Epochs and batch size of all runs.
        wanted: Recipe, or name of a random encoder, and seed of each run.
        keep: Function that stores a row.
    """
    epochs, batch, _ = budget
    if not wanted:
        return
    made_by = commit()
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        last: str | None = None
        sizes = {"epochs": epochs, "warmup": 1 / epochs, "batch_size": batch}
        usual = load(ROOT / "params.yaml").pretrain.optimizer
        rate = usual.learning_rate * (batch / USUAL[data].batch_size) ** 0.5
        prepare(data, folder / data, project, tuple(f"pretrain.{key}={value}" for key, value in sizes.items()))
        change(project, pretrain={"optimizer": {**usual.model_dump(), "learning_rate": rate}})
        stage(project, "ingest")
        stage(project, "augment")
        store = project / STORE
        for recipe, seed in wanted:
            found: Row
            of = {"data": data, "epochs": epochs, "batch_size": batch, "recipe": recipe, "seed": seed}
            try:
                if recipe.startswith(RANDOM):
                    like = recipe.removeprefix(RANDOM).removeprefix(", ") or "simclr"
                    if last is None or random_of(last) != recipe:  # its recipe needed no run, or its run did not finish
                        trained(project, store, like, seed, epochs, on_collapse="warn")
                        last = like
                    found = random(project, store, seed)
                else:
                    found = trained(project, store, recipe, seed, epochs)
                    last = recipe
            except ConfigError as refused:
                found = {"refused": str(refused)}
            except PipelineError as ended:
                found = {"ended": str(ended).partition("\nThe run ends here")[0]}
            keep({**of, "commit": made_by, **found})


def given(rows: Sequence[Row], data: str, budget: Budget) -> list[Row]:
    """Return the rows of a set of images and a budget."""
    return [row for row in rows if (row["data"], row["epochs"], row["batch_size"]) == (data, *budget[:2])]


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--rows", "kept", type=click.Path(path_type=Path), default=ROOT / "docs" / "recipes.jsonl")
@click.option("--page", type=click.Path(path_type=Path), default=ROOT / "docs" / "recipes.md")
@click.option("--data", type=click.Choice(list(USUAL)), help="Set of images; all sets by default.")
@click.option("--batch-size", type=int, help="Batch size; all by default.")
@click.option("--epochs", type=int, help="Number of epochs; all by default.")
@click.option("--seeds", type=int, help="Largest number of seeds.")
@click.option("--recipe", "only", multiple=True, type=click.Choice(RECIPES), help="Recipe; all by default.")
def main(
    folder: Path,
    kept: Path,
    page: Path,
    data: str | None,
    batch_size: int | None,
    epochs: int | None,
    seeds: int | None,
    only: Sequence[str],
) -> None:
    """Make the runs that have no row yet, on the images in FOLDER, and update the page."""
    runs = [
        (name, budget)
        for name, budget in [*USUAL.items(), *(("cifar10", budget) for budget in BATCHES.values()), *LONGER.items()]
        if data in (None, name) and epochs in (None, budget.epochs) and batch_size in (None, budget.batch_size)
    ]
    if not runs:
        raise click.UsageError("no such budget: no run has these values of --data, --epochs and --batch-size")
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []

    def keep(row: Row) -> None:
        rows.append({name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()})
        with kept.open("a") as out:
            out.write(json.dumps(rows[-1]) + "\n")

    for name, budget in runs:
        recipes = not_above(given(rows, name, USUAL[name])) if budget == LONGER[name] else RECIPES
        some = [recipe for recipe in recipes if recipe in (only or RECIPES)]
        most = min(budget.seeds, seeds or budget.seeds)
        wanted = missing(given(rows, name, budget), some, most, beside=budget == USUAL[name])
        measure(folder, name, budget, wanted, keep)
    write_page(
        page,
        {name: given(rows, name, budget) for name, budget in USUAL.items()},
        {size: given(rows, "cifar10", budget) for size, budget in BATCHES.items()},
        {name: given(rows, name, budget) for name, budget in LONGER.items()},
    )


if __name__ == "__main__":
    main()
