"""Train recipes again, and compare them with docs/recipes.jsonl: `python -m benchmarks.recipes_again FOLDER`.

FOLDER is named cifar10, and contains train.zip and test.zip of CIFAR-10, as benchmarks.recipes requires. Eight recipes
of all families train with the usual budget, and their accuracies are compared with those recorded for the same seeds:
changes for speed must not cost accuracy. The interval of a single recipe extends one point to either side, so the mean
over the recipes is what counts.

Each line of the output is a JSON object.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.judgement import Row
from benchmarks.project import ROOT, environment
from benchmarks.recipe_tables import ENDS, judged
from benchmarks.recipes import RECIPES, USUAL, given

CHOSEN = ("simclr", "emp", "mocov2", "byol", "barlow_twins", "swav", "rotation", "mae")
"""Two recipes with negatives from the batch, one with a queue, two without negatives, one with prototypes, and two
pretext tasks."""


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seeds", default=1, show_default=True, help="Number of seeds.")
@click.option("--recipe", "names", multiple=True, type=click.Choice(RECIPES), default=CHOSEN, show_default=True)
@click.option("--rows", type=click.Path(path_type=Path), help="File that keeps the rows; runs in it are not repeated.")
def main(folder: Path, seeds: int, names: Sequence[str], rows: Path | None) -> None:
    """Print the differences of accuracies, and their mean."""
    before = recorded(ROOT / "docs" / "recipes.jsonl")
    differences = []
    with tempfile.TemporaryDirectory() as scratch:
        kept = rows or Path(scratch) / "rows.jsonl"
        words = ["--rows", str(kept.resolve()), "--page", str(Path(scratch) / "page.md"), "--data", "cifar10"]
        words += ["--seeds", str(seeds), "--batch-size", str(USUAL["cifar10"].batch_size)]
        words += [word for name in names for word in ("--recipe", name)]
        program = [sys.executable, "-m", "benchmarks.recipes", str(folder.parent), *words]
        subprocess.run(program, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, check=True)
        again = recorded(kept)
    for name in names:
        for number in range(seeds):
            key, row = judged(name), again[name, number]
            if any(end in row for end in ENDS):
                sys.exit(f"{name}, seed {number}, gave no accuracy: {row}")
            differences.append(row[key] - before[name, number][key])
            tell(what="recipe", recipe=name, seed=number, by=key, before=before[name, number][key], now=row[key])
    mean = sum(differences) / len(differences)
    span = [round(min(differences), 4), round(max(differences), 4)]
    tell(what="mean difference of accuracies", difference=round(mean, 4), span=span, runs=len(differences))


def recorded(path: Path) -> dict[tuple[str, int], Row]:
    """Return the row of the usual budget for each recipe and seed."""
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {(row["recipe"], row["seed"]): row for row in given(list(rows), "cifar10", USUAL["cifar10"])}


def tell(**line: object) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
