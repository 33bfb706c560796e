"""Diagnoses of broken configurations, and of every recipe: `python -m benchmarks.diagnoses [--cifar10 F]`.

The stage `pretrain` runs once per configuration, each time in a new process: on the bundled digits with params.yaml
and the values given here, or for 5 epochs on CIFAR-10 as JPEG files in the folder F (see benchmarks.real_images). The
script prints reports/pretrain/warnings.json of each run, or the error message with which it stopped. It fails if a
broken configuration does not get its diagnosis, if a configuration of `COLLAPSED` does not get it in the first tenth
of the steps, or if an unchanged recipe gets any warning.
"""

import copy
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.project import ROOT, change, copy_project, environment, needs
from benchmarks.real_images import UPRIGHT, prepare
from ssl_pipeline.data.store import open_split
from ssl_pipeline_stages.paths import STORE

__all__ = ["BROKEN", "COLLAPSED", "merged"]

ONE_NEGATIVE = {"recipe": "mocov2", "negatives": {"queue_size": 1}}
STALE = {"recipe": "mocov2", "pretext_task": {"momentum": 0.0}, "negatives": {"queue_size": 4096}}
GREY = "colours of grey images"  # digits are grey, photographs are not
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "temperature 0.001": ({"loss": {"temperature": 0.001}}, "the temperature is too small"),
    "temperature 10": ({"loss": {"temperature": 10.0}}, "the temperature is too large"),
    "learning rate x 100": ({"optimizer": {"learning_rate": 0.2}}, "the learning rate is too high"),
    "learning rate x 100, rotation": (
        {"recipe": "rotation", "optimizer": {"learning_rate": 0.2}},
        "the learning rate is too high",
    ),
    "learning rate x 1e30": ({"optimizer": {"learning_rate": 2e27}}, "the learning rate is too high"),
    "a queue of 4,096 without a teacher": (STALE, "the queue is stale"),
    "a memory of 4,096": ({"negatives": {"name": "cross_batch", "memory_size": 4096}}, "the queue is stale"),
    "triplet with margin 1.9": ({"recipe": "triplet", "loss": {"margin": 1.9}}, "the margin is too large"),
    "truncated triplet with margin 1.9": (
        {"recipe": "truncated_triplet", "loss": {"margin": 1.9}},
        "the margin is too large",
    ),
    "one negative": (ONE_NEGATIVE, "too few negatives"),
    GREY: ({"recipe": "colorization"}, "the images are grey"),
    "two images per batch": ({"batch_size": 2, "epochs": 1, "warmup": 0.1}, "too few negatives"),
}
"""Fault -> the values of `pretrain` that cause it, and the words that its diagnosis must contain."""

NO_GUARD = {"recipe": "byol", "pretext_task": {"predictor_dim": 0, "momentum": 0.0}, "loss": {"stop_gradient": False}}
COLLAPSED: dict[str, tuple[dict[str, Any], str]] = {
    "neither predictor nor stop-gradient": (NO_GUARD, "complete collapse"),
    "BYOL without predictor": ({"recipe": "byol", "pretext_task": {"predictor_dim": 0}}, "complete collapse"),
    "VICReg without variance": ({"recipe": "vicreg", "loss": {"variance": 0.0}}, "complete collapse"),
    "VICReg with invariance alone": (
        {"recipe": "vicreg", "loss": {"variance": 0.0, "covariance": 0.0}},
        "complete collapse",
    ),
    "EMP-SSL without coding rate": ({"recipe": "emp", "loss": {"invariance": 1e6}}, "complete collapse"),
    "VICReg without covariance": ({"recipe": "vicreg", "loss": {"covariance": 0.0}}, "dimensional collapse"),
    "Barlow Twins without redundancy": (
        {"recipe": "barlow_twins", "loss": {"redundancy": 1e-9}},
        "dimensional collapse",
    ),
    "W-MSE without whitening": ({"recipe": "w_mse", "loss": {"shrinkage": 0.999}}, "dimensional collapse"),
    "SwAV without Sinkhorn": ({"recipe": "swav", "loss": {"iterations": 0}}, "prototype collapse"),
    "SwAV with soft assignments": ({"recipe": "swav", "loss": {"epsilon": 5.0}}, "prototype collapse"),
    "DINO without centring": ({"recipe": "dino", "loss": {"center_momentum": 1.0}}, "prototype collapse"),
    "DINO without sharpening": ({"recipe": "dino", "loss": {"teacher_temperature": 1.0}}, "prototype collapse"),
    "learning rate 1e-9": ({"optimizer": {"learning_rate": 1e-9}}, "loss stuck: "),
    "learning rate 1e-9, rotation": ({"recipe": "rotation", "optimizer": {"learning_rate": 1e-9}}, "loss stuck: "),
    "triplet with margin 1e-6": ({"recipe": "triplet", "loss": {"margin": 1e-6}}, "loss stuck at 0"),
}
"""Faults, in the same form, that must be diagnosed in the first tenth of the steps."""


def merged(section: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return a section of params.yaml with some values replaced; those of `optimizer` are replaced one by one."""
    content = {**copy.deepcopy(section), **values}
    content["optimizer"] = section["optimizer"] | values.get("optimizer", {})
    return content


def said(project: Path, section: dict[str, Any], values: dict[str, Any]) -> list[str]:
    change(project, pretrain=merged(section, values))
    shutil.rmtree(project / ".work", ignore_errors=True)  # checkpoints of an earlier run that stopped
    words = [sys.executable, "-m", "ssl_pipeline", "pretrain"]
    done = subprocess.run(words, cwd=project, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        return ["ended: " + " ".join(done.stderr.strip().splitlines()[-3:])]  # the message has three lines
    warnings = json.loads((project / "reports" / "pretrain" / "warnings.json").read_text())
    return [f"step {found['step']}: {found['warning']}" for found in warnings]


def wrong(found: list[str], words: str, last: float) -> bool:
    """Return whether the words are missing or come after step `last`, or, if there are none, whether anything is found.

    Args:
        found: Warnings of a run, each with its step.
        words: Words that one of the warnings must contain; "" if the run must have no warnings.
        last: Last step at which that warning is early enough.
    """
    if not words:
        return bool(found)
    steps = [int(step) for sentence in found if words in sentence for step in re.findall(r"step (\d+): ", sentence)]
    return not steps or min(steps) > last


@click.command()
@click.option("--cifar10", type=click.Path(exists=True, path_type=Path), help="Folder with train.zip and test.zip.")
@click.option("--collapse", "only_collapse", is_flag=True, help="Run only the faults that must be diagnosed early.")
def main(cifar10: Path | None, only_collapse: bool) -> None:
    recipes = sorted(path.stem for path in (ROOT / "plugins" / "ssl_pipeline_plugins" / "recipes").glob("*.yaml"))
    configurations = dict(COLLAPSED)
    if not only_collapse:
        configurations |= {name: case for name, case in BROKEN.items() if not (cifar10 and name == GREY)}
        sound = {name: {"recipe": name, **needs("upright").get(name, {})} for name in recipes}
        configurations |= {f"recipe {name}": (sound[name], "") for name in recipes if cifar10 or name != "colorization"}
    missed = []
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        if cifar10:
            prepare("cifar10", cifar10, project, ("pretrain.epochs=5", "pretrain.warmup=0.1"))
        else:
            copy_project(project)
            views = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))["augment"]["views"]
            change(project, augment={"views": views | {"upright": UPRIGHT | {"size": 16}}})
        for stage in ("ingest", "augment"):
            subprocess.run([sys.executable, "-m", "ssl_pipeline", stage], cwd=project, env=environment(), check=True)
        section = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))["pretrain"]
        tenth = 0.1 * section["epochs"] * (len(open_split(project / STORE, "train")) // section["batch_size"])
        for name, (values, words) in configurations.items():
            found = said(project, section, values)
            click.echo(f"{name}:\n  " + "\n  ".join(found or ["no warnings"]))
            if wrong(found, words, tenth if name in COLLAPSED else math.inf):
                missed.append(name)
    if missed:
        raise SystemExit(f"wrongly diagnosed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
