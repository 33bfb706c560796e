"""What pretraining says of broken configurations, and of every recipe: `python -m benchmarks.diagnoses [--epochs 40]`.

The stage `pretrain` runs on the embedded digits with the values of params.yaml but for those named, each time as a
process of its own, and what is printed is its reports/pretrain/warnings.json, or the message with which it ended. The
command fails if a broken configuration is not diagnosed by name, or a recipe is diagnosed with anything.
"""

import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.project import BACKBONES, ROOT, change, copy_project, environment

__all__ = ["BROKEN", "merged"]

ONE_NEGATIVE = {"recipe": "mocov2", "negatives": {"queue_size": 1}}
STALE = {"recipe": "mocov2", "pretext_task": {"momentum": 0.0}, "negatives": {"queue_size": 4096}}
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
    "colours of grey images": ({"recipe": "colorization"}, "the images are grey"),
    "two images a batch": ({"batch_size": 2, "epochs": 1, "warmup_epochs": 0.1}, "too few negatives"),
}
"""What is wrong -> the values of `pretrain` that make it so, and the words by which it must be named."""


def merged(section: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A section of params.yaml with values replaced, those of `optimizer` one by one."""
    content = {**copy.deepcopy(section), **values}
    content["optimizer"] = section["optimizer"] | values.get("optimizer", {})
    return content


def said(project: Path, section: dict[str, Any], values: dict[str, Any]) -> list[str]:
    change(project, pretrain=merged(section, values))
    words = [sys.executable, "-m", "stages.pretrain"]
    done = subprocess.run(words, cwd=project, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        return ["ended: " + " ".join(done.stderr.strip().splitlines()[-3:])]  # the message has three lines
    warnings = json.loads((project / "reports" / "pretrain" / "warnings.json").read_text())
    return [f"step {found['step']}: {found['warning']}" for found in warnings]


@click.command()
@click.option("--epochs", type=int, help="Another number than that of params.yaml.")
def main(epochs: int | None) -> None:
    section = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["pretrain"]
    section |= {"epochs": epochs} if epochs else {}
    recipes = sorted(path.stem for path in (ROOT / "plugins" / "recipes").glob("*.yaml"))
    broken = [values for values, _ in BROKEN.values()]  # for lack of colour, of which digits have none
    backbones = {name: {"backbone": backbone} for name, backbone in BACKBONES.items()}
    sound = [{"recipe": name, **backbones.get(name, {})} for name in recipes if {"recipe": name} not in broken]
    configurations = BROKEN | {f"recipe {values['recipe']}": (values, "") for values in sound}
    wrong = []
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary) / "project"
        copy_project(project)
        subprocess.run([sys.executable, "-m", "stages.augment"], cwd=project, env=environment(), check=True)
        for name, (values, words) in configurations.items():
            found = said(project, section, values)
            click.echo(f"{name}:\n  " + "\n  ".join(found or ["nothing"]))
            if not any(words in sentence for sentence in found) if words else found:
                wrong.append(name)
    if wrong:
        raise SystemExit(f"wrongly diagnosed: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
