"""Quality of `curate` on real images, as docs/embeddings.md reports it.

    python -m benchmarks.curation prepare DATA WORK [clothing cifar10 emoji tracks]
    python -m benchmarks.curation_study DATA WORK

DATA contains clothing/, cifar10/, emoji/ and tracks/ with their zip files. `prepare` runs the pipeline up to export for
each set, with a small backbone, in a project below WORK; this takes about five minutes of one core per set. The study
then plants copies, foreign images and wrong labels, spends budgets of labels, and prints how well `curate` does.
"""

import csv
import io
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import click

from benchmarks.project import change, copy_project, environment
from benchmarks.real_images import VIEWS, cifar10, clothing

MILD = {
    "size": 32,
    "random_resized_crop": {"p": 1.0, "scale": [0.3, 1.0], "ratio": [0.75, 1.333]},
    "color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "grayscale": {"p": 0.2},
}
RISING = [[0, 0.5], [0.6, 0.75], [0.85, 1.0]]
"""Schedule of growing views, which takes half the time."""
UPRIGHT = {"global": MILD, "plain": VIEWS["upright"]}
"""Views without flips, because a mirrored sign is a different sign."""

SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "clothing": {
        "ingest": {"canvas": 40, "resize": "letterbox"},
        "augment": {"views": VIEWS},
        "pretrain": {"epochs": 60},
    },
    "cifar10": {"ingest": {"canvas": 32}, "augment": {"views": VIEWS}, "pretrain": {"epochs": 20}},
    "emoji": {"ingest": {"canvas": 40}, "augment": {"views": UPRIGHT}, "pretrain": {"epochs": 60}},
    "tracks": {"ingest": {"canvas": 40}, "augment": {"views": UPRIGHT}, "pretrain": {"epochs": 40}},
}


def emoji(folder: Path, target: Path) -> None:
    shutil.copy(folder / "emoji.zip", target)


def tracks(folder: Path, target: Path) -> None:
    """Copy the frames, and add a table with the track of each frame, so that no split divides a track."""
    shutil.copy(folder / "tracks.zip", target)
    rows = io.StringIO()
    table = csv.writer(rows)
    table.writerow(["path", "label", "split", "group"])
    with zipfile.ZipFile(target, "a") as archive:
        for name in archive.namelist():
            split, label, track, _ = name.split("/")
            table.writerow([name, label, split, track])
        archive.writestr("labels.csv", rows.getvalue())


SETS = {"clothing": clothing, "cifar10": cifar10, "emoji": emoji, "tracks": tracks}


@click.group(help=__doc__)
def main() -> None:
    """Choose a command."""


@main.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("work", type=click.Path(path_type=Path))
@click.argument("names", nargs=-1, type=click.Choice(list(SETS)))
def prepare(data: Path, work: Path, names: tuple[str, ...]) -> None:
    for name in names or SETS:
        project = work / name
        copy_project(project)
        SETS[name](data / name, project / "images.zip")
        change(project, ingest={"source": {"name": "folder", "path": "images.zip"}})
        change(project, **SETTINGS[name])
        change(project, pretrain={"resolution": RISING, "batch_size": 128})
        for words in (["config", "--local", "core.no_scm", "true"], ["repro", "export"]):
            subprocess.run(["dvc", *words], cwd=project, check=True, env=environment())


if __name__ == "__main__":
    main()
