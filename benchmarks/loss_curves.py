"""Record how recipes learn: `python -m benchmarks.loss_curves OUT.json [BEFORE.json]`.

Each recipe that needs only single images takes thirty steps on digits, with the values of params.yaml, a ResNet-8 of
half the width and one thread. OUT.json contains all curves of each recipe, as they are written, and the digest of the
trained encoder. With BEFORE.json, the file of an earlier version, the script lists the recipes that differ: refactoring
must leave all of them bit-identical. New curves are ignored.
"""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.project import OF_CLIPS, READ_CAPTIONS, TAUGHT, change, copy_project, environment, needs
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import sha256

STEPS = {"epochs": 6, "warmup": 1 / 6, "batch_size": 192, "on_collapse": "warn", "precision": "fp32"}
"""Five steps per epoch over the 1,145 training images."""
UPRIGHT = {"size": 16, "random_resized_crop": {"p": 1.0, "scale": [0.7, 1.0], "ratio": [0.85, 1.18]}}
BACKBONE = {"name": "resnet_cifar", "depth": 8, "width": 8}


def run(folder: Path, stage: str, *options: str) -> None:
    command = (sys.executable, "-m", "ssl_pipeline", stage, *options)
    surroundings = {**environment(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{stage} failed:\n{done.stdout}{done.stderr}")


def curve(path: Path) -> list[str]:
    """Return the values of a curve, as they are written."""
    with path.open(encoding="utf-8") as file:
        return [row[path.stem] for row in csv.DictReader(file, delimiter="\t")]


def record(folder: Path, recipe: str) -> dict[str, Any]:
    """Train a recipe; return its curves and the digest of its encoder."""
    change(
        folder,
        pretrain={
            "recipe": recipe,
            "pretext_task": {},
            "backbone": BACKBONE,
            **STEPS,
            **needs("upright").get(recipe, {}),
        },
    )
    run(folder, "pretrain")
    curves = folder / "reports" / "pretrain" / "curves"
    return {
        "encoder": sha256(folder / "models" / "pretrain" / "encoder.safetensors"),
        "curves": {path.stem: curve(path) for path in sorted(curves.glob("*.tsv"))},
    }


def same(now: dict[str, Any] | None, before: dict[str, Any]) -> bool:
    """Return whether a recipe has the same encoder and the same curves as before, apart from new curves."""
    return now is not None and now["encoder"] == before["encoder"] and before["curves"].items() <= now["curves"].items()


def main(out: Path, before: Path | None = None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        copy_project(folder)
        views = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))["augment"]["views"]
        change(folder, augment={"views": {**views, "upright": UPRIGHT}})
        run(folder, "inventory")
        run(folder, "ingest")
        run(folder, "augment")
        recorded = {}
        left = (*READ_CAPTIONS, *OF_CLIPS, *TAUGHT)
        for recipe in (name for name in load_registry().names("recipe") if name not in left):
            recorded[recipe] = record(folder, recipe)
            print(recipe, recorded[recipe]["curves"]["loss"][-1], flush=True)
    out.write_text(json.dumps(recorded, indent=1), encoding="utf-8")
    if before:
        earlier = json.loads(before.read_text(encoding="utf-8"))
        different = [recipe for recipe in earlier if not same(recorded.get(recipe), earlier[recipe])]
        print(f"{len(earlier) - len(different)} of {len(earlier)} recipes are bit-identical")
        print(f"different: {', '.join(different) or 'none'}")
        sys.exit(bool(different))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
