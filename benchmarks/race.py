"""Accuracy over training time, compared with lightly's SimCLR: `python -m benchmarks.race FOLDER`.

FOLDER contains train.zip and test.zip of CIFAR-10 as JPEG files in class folders. Both sides of `benchmarks.peer` train
a ResNet-8 on the same number of the same files, for the same number of epochs, in batches of the same size. After each
epoch, the clock stops, and both encoders are judged by kNN on test images in the same way. lightly's SimCLR runs twice:
with SGD at a constant learning rate, as in its documentation, and with the optimizer and the schedule of our default
run, so that differences in accuracy are not due to the optimizer alone.

Differences are paired by seed and image, with their 95% intervals. Time is compared with the better of the two lightly
runs: the time until ours reaches its final accuracy, as a share of its whole time. Time is the processor time of the
process, with one thread and without workers of lightly's loader, so that other programs hardly affect it.

Each line of the output is a JSON object.
"""

import json
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn, optim
from torchvision.transforms import v2

from benchmarks.peer import Ours, Theirs, store_of
from benchmarks.resolution import difference
from ssl_pipeline.config import Choice
from ssl_pipeline.data.labelled import Labelled, read_labelled
from ssl_pipeline.evaluation.features import extract
from ssl_pipeline.evaluation.linear import knn
from ssl_pipeline.training.optimization import learning_rate

os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"  # lightly does not look for a newer version online

SIDE = 32  # px
BACKBONE: dict[str, Any] = {"name": "resnet_cifar", "depth": 8, "width": 16}
K, TEMPERATURE = 20, 0.07  # number of neighbours, and temperature of their votes
DOCUMENTED, SAME, OURS = "lightly, as documented", "lightly, our optimizer", "ours"

Right = npt.NDArray[np.float64]
"""1 for each test image that kNN classifies correctly, 0 for the others: (images,)."""


def unpack(folder: Path, images: Path, per_class: int) -> None:
    """Unpack the first images of each class: `per_class` for training, and two fifths of this number for the test."""
    for split, limit in (("train", per_class), ("test", 2 * per_class // 5)):
        with zipfile.ZipFile(folder / f"{split}.zip") as source:
            for name in source.namelist():
                if int(PurePosixPath(name).stem) < limit:
                    source.extract(name, images / split)


class Watch:
    """A clock that runs only during training, and the accuracy after each epoch.

    Args:
        steps: Number of steps per epoch.
        judge: Function that returns which test images are classified correctly.
    """

    def __init__(self, steps: int, judge: Callable[[], Right]):
        self.seconds: list[float] = []
        self.accuracies: list[float] = []
        self.right: Right = np.zeros(0)
        self._steps, self._judge, self._done, self._began = steps, judge, 0, time.process_time()

    def step(self, *_: object) -> None:
        """Record that a step is done; after an epoch, record the time and the accuracy."""
        self._done += 1
        if self._done % self._steps:
            return
        now = time.process_time()
        self.seconds.append(round(now - self._began, 2))
        self.right = self._judge()
        self.accuracies.append(round(float(self.right.mean()), 4))
        self._began += time.process_time() - now  # the time of judging does not count


def judged(network: nn.Module, bank: Labelled, asked: Labelled) -> Right:
    """Judge a network that maps images (N, C, S, S) in [0, 1] to features, and leave it in training mode."""
    network.eval()

    def embed(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            pixels = torch.from_numpy(images).to(next(network.parameters()).device).permute(0, 3, 1, 2) / 255
            features: npt.NDArray[np.float32] = network(pixels).flatten(start_dim=1).cpu().numpy()
        return features

    given = knn.predict(extract(embed, bank), bank.labels, extract(embed, asked), K, TEMPERATURE)
    network.train()
    return (given == asked.labels).astype(np.float64)


class Normalized(nn.Module):
    """lightly's backbone, preceded by the normalisation of its transform."""

    def __init__(self, backbone: nn.Module):
        from lightly.transforms.utils import IMAGENET_NORMALIZE

        super().__init__()
        self.backbone, self.normalize = backbone, v2.Normalize(**IMAGENET_NORMALIZE)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.backbone(self.normalize(images))
        return features


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seeds", default=3, show_default=True, help="Number of seeds.")
@click.option("--epochs", default=6, show_default=True, help="Number of epochs.")
@click.option("--batch", default=64, show_default=True, help="Number of images per step.")
@click.option("--per-class", default=250, show_default=True, help="Number of training images per class.")
def main(folder: Path, seeds: int, epochs: int, batch: int, per_class: int) -> None:
    """Train both on CIFAR-10 in FOLDER, and compare their accuracies and times."""
    torch.set_num_threads(1)
    runs: dict[str, list[Watch]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch) / "images"
        unpack(folder, images, per_class)
        store = store_of(Path(scratch) / "project", images, SIDE)
        data = read_labelled(store)
        steps = len(data.train) // batch
        for seed in range(seeds):
            for name, watch in trained(store, images / "train", data.train, data.test, seed, epochs, batch, steps):
                runs.setdefault(name, []).append(watch)
                tell(what=name, seed=seed, knn=watch.accuracies, seconds=watch.seconds)
    of = {"epochs": epochs, "batch": batch, "trained_on": steps * batch, "threads": 1}
    for line in verdicts(runs):
        tell(**line, **of)


def trained(
    store: Path, files: Path, bank: Labelled, asked: Labelled, seed: int, epochs: int, batch: int, steps: int
) -> Iterator[tuple[str, Watch]]:
    """Train each side with a seed; yield its name and its watch."""
    ours = Ours(store, SIDE, batch, steps, backbone=BACKBONE, epochs=epochs, seed=seed)
    watch = Watch(steps, lambda: judged(ours.task.encoder, bank, asked))

    def watched(task: nn.Module) -> optim.Optimizer:
        optimizer = ours.optimizer(task)
        optimizer.register_step_post_hook(watch.step)
        return optimizer

    ours.go(watched)
    yield OURS, watch
    for name in (DOCUMENTED, SAME):
        theirs = Theirs(files, SIDE, batch, steps, 0, Choice.model_validate(BACKBONE), seed)
        network = Normalized(theirs.backbone)
        watch = Watch(steps, lambda network=network: judged(network, bank, asked))  # type: ignore[misc]
        theirs.after_step = watch.step
        if name == SAME:
            theirs.optimizer = ours.optimizer(theirs.model)
            schedule(theirs.optimizer, steps * epochs, ours.section.warmup, ours.section.optimizer.learning_rate)
        for _ in range(epochs):
            theirs.go()
        yield name, watch


def schedule(optimizer: optim.Optimizer, total: int, warmup: float, peak: float) -> None:
    """Make the learning rate of an optimizer follow our schedule.

    Args:
        optimizer: Optimizer.
        total: Number of steps.
        warmup: Share of the steps for warm-up, in [0, 1].
        peak: Highest learning rate.
    """
    done = 0

    def before(*_: object) -> None:
        nonlocal done
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(done, total, round(warmup * total), peak)
        done += 1

    optimizer.register_step_pre_hook(before)


def verdicts(runs: dict[str, list[Watch]]) -> Iterator[dict[str, Any]]:
    """Yield the lines that compare our runs with both kinds of lightly's runs."""
    ours = runs[OURS]
    for name in (DOCUMENTED, SAME):
        paired = difference(*(np.array([run.right for run in side]) for side in (ours, runs[name])))
        yield {key: value for key, value in paired.items() if key != "target"} | {"what": f"kNN, ours less {name}"}
    better = max((runs[DOCUMENTED], runs[SAME]), key=lambda side: sum(run.accuracies[-1] for run in side))
    shares = [share(own, other) for own, other in zip(ours, better, strict=True)]
    yield {
        "what": "time to lightly's kNN",
        "of": DOCUMENTED if better is runs[DOCUMENTED] else SAME,
        "ratio": None if None in shares else round(statistics.median(filter(None, shares)), 3),
        "of_seeds": shares,
    }
    whole = [own.seconds[-1] / other.seconds[-1] for own, other in zip(ours, better, strict=True)]
    yield {"what": "time of all epochs", "ratio": round(statistics.median(whole), 3)}


def share(own: Watch, other: Watch) -> float | None:
    """Return the time until `own` reaches the final accuracy of `other`, as a share of the whole time of `other`.

    None if it never reaches that accuracy.
    """
    for seconds, accuracy in zip(own.seconds, own.accuracies, strict=True):
        if accuracy >= other.accuracies[-1]:
            return round(seconds / other.seconds[-1], 3)
    return None


def tell(**line: object) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
