"""Progressive resolution against full size throughout: `python -m benchmarks.resolution speed` and `... knn FOLDER`.

`speed` trains a ResNet-18 on random images, in whole steps that include making the views: 20 steps with the sizes of
the schedule, against 20 steps at full size, in turns. The areas of the views predict a speed-up; the target is at least
0.9 of it.

`knn` trains on the photographs of clothing or CIFAR-10 (FOLDER as described in benchmarks.real_images), for each seed
once at full size and once by the schedule, with the same number of epochs. The exported files are judged by kNN on the
test images. The interval is that of the paired difference: percentiles over resamples of the images, of the mean over
seeds. The target is a lower bound of at least -0.5 points.

Each line of the output is a JSON object.
"""

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
import yaml

from benchmarks.interleaved import faster, machine
from benchmarks.project import ROOT, change
from benchmarks.real_images import VIEWS, prepare
from benchmarks.stage import stage
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import LinearEvalConfig, PretrainConfig, load
from ssl_pipeline.data.labelled import read_labelled
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.evaluation.features import extract
from ssl_pipeline.evaluation.linear import knn
from ssl_pipeline.loading import load_registry
from ssl_pipeline.randomness import hash64
from ssl_pipeline.recipes import method_of
from ssl_pipeline.training.batch_inputs import inputs
from ssl_pipeline.training.memory_format import memory_format
from ssl_pipeline.training.optimization import build_optimizer
from ssl_pipeline.training.precision import best_device
from ssl_pipeline.training.preparation import build
from ssl_pipeline.training.view_sizes import ViewSizes
from ssl_pipeline.types import Step
from ssl_pipeline_stages.paths import EXPORT, STORE

SCHEDULE, FULL = [[0, 0.5], [0.6, 0.75], [0.85, 1.0]], [[0, 1.0]]
STEPS = 20
"""Smallest number of steps for which the sizes of the schedule change at whole steps."""
SPEED_TARGET, KNN_TARGET = 0.9, -0.005
RESAMPLES = 10_000
PHOTO_SIDE = 64
"""Smallest side of images, px, for which networks have the stem for ImageNet, which reduces images early."""


class Training:
    """Training on random images, with any schedule of sizes.

    Args:
        side: Side of the largest views, px; canvases are an eighth larger.
        batch: Number of images per step.
    """

    def __init__(self, side: int, batch: int):
        canvas, registry = side + side // 8, load_registry()
        images = np.random.default_rng(0).integers(0, 256, (batch, canvas, canvas, 3), dtype=np.uint8)
        ids = np.sort(np.array([hash64("image", number) for number in range(batch)], np.uint64))
        self.pool = Split("train", canvas, ids, (0.5,) * 3, (0.25,) * 3, "", (images,))
        self.policies = {"global": Policy.model_validate({**VIEWS["global"], "size": side})}
        stem = "small" if side < PHOTO_SIDE else "imagenet"
        section = load(ROOT / "params.yaml").pretrain.model_dump()
        values = {"backbone": {"name": "torchvision/resnet18", "stem": stem}, "batch_size": batch}
        self.config = PretrainConfig.model_validate(section | values)
        recipe = method_of(registry, self.config).recipe
        self.task = build(registry, recipe, self.config, self.pool, self.policies)
        self.sizes = {name: self._sizes(schedule) for name, schedule in (("ours", SCHEDULE), ("theirs", FULL))}
        self.device = best_device()
        order = memory_format(self.task, self.device)
        self.task.to(self.device, memory_format=order).train()  # type: ignore[call-overload]
        self.optimizer = build_optimizer(registry, self.config.optimizer, self.task)

    def _sizes(self, schedule: list[list[float]]) -> ViewSizes:
        config = PretrainConfig.model_validate(self.config.model_dump() | {"resolution": schedule})
        return ViewSizes.of(self.task, self.policies, config, STEPS)

    def areas(self, sizes: ViewSizes) -> float:
        """Return the sum of the areas of a view over all steps, in pixels."""
        return float(sum(sizes.at(step)["global"].size ** 2 for step in range(STEPS)))

    def go(self, sizes: ViewSizes) -> None:
        """Take STEPS steps."""
        for number in range(STEPS):
            images = torch.from_numpy(self.pool.images(np.arange(len(self.pool)))).to(self.device)
            views = inputs(self.task, sizes.at(number), images, self.pool.ids, 0, number, self.pool.spec)
            ids = torch.from_numpy(self.pool.ids.view(np.int64)).to(self.device)
            loss = self.task.compare(self.task(views), Step(number, STEPS, number, 0, ids)).loss
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


@click.group()
def main() -> None:
    """Compare progressive resolution with full size throughout."""


@main.command()
@click.option("--side", "sides", multiple=True, type=int, default=(32, 96, 224), show_default=True, help="Side, px.")
@click.option("--batch", default=64, show_default=True, help="Number of images per step.")
@click.option("--rounds", default=5, show_default=True, help="Number of rounds, at least 2.")
def speed(sides: tuple[int, ...], batch: int, rounds: int) -> None:
    """Measure how much faster whole steps are, relative to the speed-up that the areas of the views predict."""
    tell({"machine": machine(), "threads": torch.get_num_threads(), "device": best_device().type})
    for side in sides:
        training = Training(side, batch)
        ours, theirs = training.sizes["ours"], training.sizes["theirs"]
        found = faster(partial(training.go, ours), partial(training.go, theirs), rounds)
        predicted = training.areas(theirs) / training.areas(ours)
        ratio = found["median"] / predicted
        tell(
            {"side": side, "batch": batch, "sides": [policies["global"].size for policies in ours.policies]}
            | {"speed_up": found, "predicted": round(predicted, 3), "ratio": round(ratio, 3), "target": SPEED_TARGET}
        )


@main.command(name="knn")
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--data", type=click.Choice(["clothing", "cifar10"]), default="clothing", show_default=True)
@click.option("--seeds", default=3, show_default=True, help="Number of seeds.")
@click.option("--side", default=64, show_default=True, help="Side of the views, px.")
@click.option("--epochs", default=30, show_default=True)
@click.option("--set", "overrides", multiple=True, help="Value for params.yaml, such as pretrain.batch_size=128.")
def compare(folder: Path, data: str, seeds: int, side: int, epochs: int, overrides: tuple[str, ...]) -> None:
    """Compare kNN accuracies on the test images in FOLDER."""
    tell({"machine": machine(), "threads": torch.get_num_threads(), "data": data, "side": side, "epochs": epochs})
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch)
        prepare(data, folder, project, overrides)
        views = {kind: {**policy, "size": side} for kind, policy in VIEWS.items()}
        change(project, ingest={"canvas": side + side // 8}, augment={"views": views}, pretrain={"epochs": epochs})
        for name in ("inventory", "ingest", "augment"):
            stage(project, name, torch.get_num_threads())
        right = {name: [] for name in ("ours", "theirs")}
        for seed in range(seeds):
            for name, schedule in (("ours", SCHEDULE), ("theirs", FULL)):
                right[name].append(judged(project, seed, schedule))
                tell({"seed": seed, "resolution": schedule, "knn": round(float(right[name][-1].mean()), 4)})
        tell(difference(np.array(right["ours"]), np.array(right["theirs"])))


def judged(project: Path, seed: int, schedule: list[list[float]]) -> npt.NDArray[np.float64]:
    """Train and export; return 1 for each test image that kNN classifies correctly, and 0 for the others: (images,)."""
    change(project, pretrain={"seed": seed, "resolution": schedule})
    for name in ("pretrain", "export"):
        stage(project, name, torch.get_num_threads())
    content = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))["linear_eval"]
    settings = LinearEvalConfig.model_validate(content).knn
    data = read_labelled(project / STORE)
    embed = partial(run, open_session(project / EXPORT / "backbone.onnx"))
    bank, asked = extract(embed, data.train), extract(embed, data.test)
    given = knn.predict(bank, data.train.labels, asked, settings.k, settings.temperature)
    return (given == data.test.labels).astype(np.float64)


def difference(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the difference of accuracies, paired by image and seed, with its 95% interval.

    Args:
        ours: 1 for each correctly classified image, 0 for the others: (seeds, images).
        theirs: The same for the other side.
    """
    paired = (ours - theirs).mean(axis=0)  # (images,): means over the seeds
    drawn = np.random.default_rng(0).multinomial(len(paired), np.full(len(paired), 1 / len(paired)), size=RESAMPLES)
    low, high = np.percentile(drawn @ paired / len(paired), [2.5, 97.5])
    return {
        "what": "difference",
        "seeds": len(ours),
        "images": len(paired),
        "difference": round(float(paired.mean()), 4),
        "low": round(float(low), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "of_seeds": [round(float(value), 4) for value in (ours - theirs).mean(axis=1)],
        "target": KNN_TARGET,
    }


def tell(found: dict[str, Any]) -> None:
    """Print a line of JSON."""
    click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
