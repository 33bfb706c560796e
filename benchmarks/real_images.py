"""The whole pipeline on photographs: `python -m benchmarks.real_images clothing|cifar10 FOLDER [--set key=value]`.

FOLDER contains clothing.zip, or train.zip and test.zip of CIFAR-10 as JPEG files in class folders, of which 10,000
training images (the first 1,000 of each class) are used. The project is copied to a temporary folder and run there with
dvc, and the reports of its stages are printed. Accuracies are measured on the test split of the data; settings were
chosen on the validation split.
"""

import json
import shutil
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.project import change, copy_project, environment

PHOTOS = {
    "size": 32,
    "random_resized_crop": {"p": 1.0, "scale": [0.2, 1.0], "ratio": [0.75, 1.333]},
    "horizontal_flip": {"p": 0.5},
    "color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "grayscale": {"p": 0.2},
}
GENTLE = {
    "size": 32,
    "random_resized_crop": {"p": 1.0, "scale": [0.6, 1.0], "ratio": [0.85, 1.18]},
    "horizontal_flip": {"p": 0.5},
}
UPRIGHT = {name: operation for name, operation in GENTLE.items() if name != "horizontal_flip"}
VIEWS = {"global": PHOTOS, "plain": GENTLE, "upright": UPRIGHT}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "clothing": {
        "ingest": {"canvas": 40, "resize": "letterbox"},
        "augment": {"views": VIEWS},
        "pretrain": {"epochs": 100, "warmup": 0.05},
    },
    "cifar10": {
        "ingest": {"canvas": 32},
        "augment": {"views": VIEWS},
        "pretrain": {"epochs": 40, "warmup": 0.1},
    },
}


def clothing(folder: Path, target: Path) -> None:
    shutil.copy(folder / "clothing.zip", target)


def cifar10(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as out:
        for split, limit in (("train", 1000), ("test", 1000)):
            with zipfile.ZipFile(folder / f"{split}.zip") as source:
                for name in source.namelist():
                    if int(Path(name).stem) < limit:
                        out.writestr(f"{split}/{name}", source.read(name))


def prepare(data: str, folder: Path, project: Path, overrides: tuple[str, ...]) -> None:
    copy_project(project)
    {"clothing": clothing, "cifar10": cifar10}[data](folder, project / "images.zip")
    change(project, ingest={"source": {"name": "folder", "path": "images.zip"}})
    change(project, **SETTINGS[data])
    for override in overrides:
        keys, _, value = override.partition("=")
        section, _, key = keys.partition(".")
        change(project, **{section: {key: yaml.safe_load(value)}})


@click.command()
@click.argument("data", type=click.Choice(["clothing", "cifar10"]))
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--set", "overrides", multiple=True, help="Value for params.yaml, such as pretrain.epochs=5.")
def main(data: str, folder: Path, overrides: tuple[str, ...]) -> None:
    """Run the pipeline on DATA (clothing or cifar10); FOLDER contains its zip files."""
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        prepare(data, folder, project, overrides)
        for words in (["config", "--local", "core.no_scm", "true"], ["repro"]):
            start = time.perf_counter()
            subprocess.run(["dvc", *words], cwd=project, check=True, env=environment())
        click.echo(f"{data}: the whole pipeline took {time.perf_counter() - start:.0f} s")
        for stage in ("ingest", "pretrain", "export", "linear_eval", "finetune"):
            report = json.loads((project / "reports" / stage / "details.json").read_text())
            click.echo(f"{stage}: {json.dumps(report, indent=1)}")


if __name__ == "__main__":
    main()
