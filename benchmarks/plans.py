"""Planned settings against those of docs/images.md: `python -m benchmarks.plans digits cifar10 --folder DATA`.

DATA contains cifar10/, clothing/, emoji/ and tracks/ with their zip files; `--images` adds other images. For each set
of images, `plan` proposes settings for `--hours`. The settings that docs/images.md recommends for photographs without a
plan get the same processor time for pretraining: a trial determines the number of epochs, which is at least 1. The
exported files of both are judged by kNN on up to 2,000 test images. The emoji are split again, because their own splits
share pictures with the same bytes, which ingest refuses. Each run is a line of JSON: accuracy with its 95% interval,
the seconds of processor time that pretraining took, and the estimate. All runs have one thread, so that other programs
hardly affect the comparison.
"""

import csv
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import click

from benchmarks.judgement import judge_neighbours
from benchmarks.project import change, copy_project, environment
from benchmarks.real_images import cifar10
from benchmarks.recipes import stage
from ssl_pipeline.config import load
from ssl_pipeline.data.store import open_split
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.loading import load_registry
from ssl_pipeline.planning.machine import trial
from ssl_pipeline.recipes import method_of, resolve_views
from ssl_pipeline_stages.paths import EXPORT, STORE

README: dict[str, dict[str, Any]] = {
    "ingest": {"canvas": 72, "resize": "crop"},
    "augment": {"views": "recipe"},
    "pretrain": {"backbone": {"name": "torchvision/resnet18", "stem": "small"}},
}
"""Settings of docs/images.md for photographs."""
ZIPS = {"clothing": "clothing/clothing.zip", "emoji": "emoji/emoji.zip", "tracks": "tracks/tracks.zip"}
DATA = ("digits", "cifar10", *ZIPS)
MORE = 4.0
"""Duration, s, of the trial of the settings of docs/images.md."""


def source(data: str, folder: Path, project: Path) -> str | None:
    """Return the path of the images; None for the digits, which params.yaml already names."""
    if data == "cifar10":
        cifar10(folder / "cifar10", project / "images.zip")
        return "images.zip"
    if data == "emoji":
        without_splits(folder / ZIPS[data], project / "images.zip")
        return "images.zip"
    return str((folder / ZIPS[data]).resolve()) if data in ZIPS else None if data == "digits" else data


def without_splits(source: Path, target: Path) -> None:
    """Copy a zip file of images without the column `split` of its labels.csv."""
    with zipfile.ZipFile(source) as theirs, zipfile.ZipFile(target, "w") as ours:
        for name in theirs.namelist():
            content = theirs.read(name)
            if name == "labels.csv":
                rows = list(csv.reader(StringIO(content.decode("utf-8"))))
                out, left_out = StringIO(), rows[0].index("split")
                csv.writer(out).writerows(row[:left_out] + row[left_out + 1 :] for row in rows)
                content = out.getvalue().encode("utf-8")
            ours.writestr(name, content)


def plan(project: Path, images: str | None, hours: float) -> float:
    """Run `plan`; return the estimated time of pretraining, s."""
    words = [sys.executable, "-m", "ssl_pipeline", "plan", *([images] if images else []), "--hours", str(hours)]
    surroundings = environment() | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=project, env=surroundings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"plan failed:\n{done.stderr}")
    click.echo(done.stdout, err=True)
    return 60 * next(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("pretrain   "))


def readme(project: Path, seconds: float) -> None:
    """Write the number of epochs that fits into `seconds` of processor time; the project must have a store."""
    params = project / "params.yaml"
    config, registry, pool = load(params), load_registry(), open_split(project / STORE, "train")
    method = method_of(registry, config.pretrain)
    views = resolve_views(method, config.augment.views)
    speed = trial(registry, method.recipe, method.pretrain, views, config.ingest.canvas, pool.spec, MORE)
    change(project, pretrain={"epochs": max(1, round(seconds * speed.images_per_second / len(pool)))})


def judged(project: Path, seed: int) -> dict[str, Any]:
    """Train, export and judge; return a row of figures."""
    change(project, pretrain={"seed": seed})
    used = stage(project, "pretrain")
    stage(project, "export")
    found = judge_neighbours(partial(run, open_session(project / EXPORT / "backbone.onnx")), project / STORE)
    return {
        "seed": seed,
        "epochs": load(project / "params.yaml").pretrain.epochs,
        "seconds": used["seconds"],
        **found,
    }


def compare(data: str, folder: Path, hours: float, seeds: int, epochs: int | None) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as temporary:
        planned, rival = Path(temporary) / "planned", Path(temporary) / "rival"
        for project in (planned, rival):
            copy_project(project)
            images = source(data, folder, project)
            if images:
                change(project, ingest={"source": {"name": "folder", "path": images}})
        estimated = plan(planned, images, hours)
        change(rival, **README)
        for project in (planned, rival):
            if epochs:
                change(project, pretrain={"epochs": epochs})
            for name in ("inventory", "ingest", "augment"):
                stage(project, name)
        for seed in range(seeds):
            ours = judged(planned, seed)
            yield {"data": data, "settings": "plan", "estimated": estimated, **ours}
            if not epochs and seed == 0:
                readme(rival, ours["seconds"])
            yield {"data": data, "settings": "readme", **judged(rival, seed)}


@click.command()
@click.argument("data", nargs=-1, type=click.Choice(DATA))
@click.option("--folder", type=click.Path(path_type=Path), default=Path("."), help="Folder of the data sets.")
@click.option("--images", multiple=True, help="Path of other images, labelled by their folders.")
@click.option("--hours", type=float, default=1.0, show_default=True)
@click.option("--seeds", type=int, default=3, show_default=True)
@click.option("--epochs", type=int, help="Number of epochs for both, to try this script quickly.")
def main(
    data: tuple[str, ...], folder: Path, images: tuple[str, ...], hours: float, seeds: int, epochs: int | None
) -> None:
    """Compare planned settings with those of docs/images.md on DATA."""
    for name in (*data, *images):
        for row in compare(name, folder, hours, seeds, epochs):
            click.echo(json.dumps(row))


if __name__ == "__main__":
    main()
