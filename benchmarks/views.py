"""Speed of making views, relative to other libraries: `python -m benchmarks.views [--threads N] [--size PX] ...`.

The same SimCLR policy is computed by `make_views` on whole batches, including the hashing, and by other libraries:
torchvision's v2 transforms on one sample at a time, as in a worker of a data loader; kornia on whole batches;
albumentationsX on one sample at a time, in uint8. All interpolate bilinearly. The outputs are float32 in [0, 1],
channels first. The time for stacking single views into a batch is not included, and no worker processes are used, so
one thread is compared with one thread.

torchvision's crop antialiases, as ours does. Those of albumentationsX (cv2.INTER_LINEAR on uint8) and kornia do not, so
both do less work. Neither is a dependency. albumentationsX is under the AGPL and reports its use, so install it only
into an environment for benchmarks. Its telemetry is turned off here before it is imported.

A line of JSON is printed for each reference.
"""

import importlib
import json
import os
from collections.abc import Callable, Iterator
from functools import partial

import click
import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torchvision.transforms import v2

from benchmarks.interleaved import faster, machine
from ssl_pipeline.augment.maker import CHUNK_VALUES
from ssl_pipeline.augment.plain import PlainViewMaker
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import PARAMETERS, make_views
from ssl_pipeline.randomness import uniforms

Run = Callable[[], object]

AREA, RATIO, JITTER, HUE, SIGMA = (0.2, 1.0), (0.75, 1.333), 0.4, 0.1, (0.1, 1.0)


def canvases(size: int, count: int) -> Tensor:
    """Return patches of two photographs: (count, size, size, 3), uint8."""
    photographs = load_sample_images().images
    height, width = photographs[0].shape[:2]
    patches = []
    for i in range(count):
        top, left = i * 37 % (height - size), i * 53 % (width - size)
        patches.append(photographs[i % 2][top : top + size, left : left + size])
    return torch.from_numpy(np.stack(patches))


def policy(size: int) -> Policy:
    return Policy.model_validate(
        {
            "size": size,
            "random_resized_crop": {"p": 1.0, "scale": AREA, "ratio": RATIO},
            "horizontal_flip": {"p": 0.5},
            "color_jitter": {"p": 0.8, "brightness": JITTER, "contrast": JITTER, "saturation": JITTER, "hue": HUE},
            "grayscale": {"p": 0.2},
            "gaussian_blur": {"p": 0.5, "sigma": SIGMA},
        }
    )


def torchvision_steps(size: int, first: v2.Transform) -> v2.Compose:
    return v2.Compose(
        [
            first,
            v2.RandomResizedCrop(size, scale=AREA, ratio=RATIO, antialias=True),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomApply([v2.ColorJitter(JITTER, JITTER, JITTER, HUE)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(7, SIGMA)], 0.5),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


def torchvision(images: Tensor, first: v2.Transform) -> Run:
    samples, steps = list(images.permute(0, 3, 1, 2).contiguous()), torchvision_steps(images.shape[1], first)
    return lambda: [steps(sample) for sample in samples]


def kornia(images: Tensor) -> Run:
    kornia = importlib.import_module("kornia.augmentation")
    size = images.shape[1]
    steps = nn.Sequential(
        kornia.RandomResizedCrop((size, size), AREA, RATIO, align_corners=False, cropping_mode="resample"),
        kornia.RandomHorizontalFlip(p=0.5),
        kornia.ColorJitter(JITTER, JITTER, JITTER, HUE, p=0.8),
        kornia.RandomGrayscale(p=0.2),
        kornia.RandomGaussianBlur((7, 7), SIGMA, p=0.5),
    )
    return lambda: steps(images.permute(0, 3, 1, 2).float() / 255)


def albumentations(images: Tensor) -> Run:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = os.environ["ALBUMENTATIONS_NO_TELEMETRY"] = "1"
    library, cv2 = importlib.import_module("albumentations"), importlib.import_module("cv2")
    cv2.setNumThreads(torch.get_num_threads())
    size, factors = images.shape[1], (1 - JITTER, 1 + JITTER)
    steps = library.Compose(
        [
            library.RandomResizedCrop((size, size), AREA, RATIO),
            library.HorizontalFlip(p=0.5),
            library.ColorJitter(factors, factors, factors, (-HUE, HUE), p=0.8),
            library.ToGray(p=0.2),
            library.GaussianBlur((7, 7), SIGMA, p=0.5),
            library.ToFloat(255),
        ],
        telemetry=False,
    )
    samples = list(images.numpy())
    return lambda: [np.ascontiguousarray(steps(image=sample)["image"].transpose(2, 0, 1)) for sample in samples]


def plain(images: Tensor) -> Run:
    """Return a function that computes every operation on every image: the same views, except for their last bits."""
    maker = PlainViewMaker(policy(images.shape[1]))

    def run() -> None:
        numbers = torch.from_numpy(uniforms(0, 0, np.arange(len(images), dtype=np.uint64), "global/0", len(PARAMETERS)))
        for part in range(0, len(images), chunk):
            maker(images[part : part + chunk], numbers[part : part + chunk])

    chunk = max(1, CHUNK_VALUES // images[0].numel())
    return run


def references(images: Tensor) -> Iterator[tuple[str, Run | str]]:
    """Yield the name of each reference, and a function that runs it or a message about its missing package."""
    yield "our plain form, as graphs compute it", plain(images)
    yield "torchvision v2 per sample, float32", torchvision(images, v2.ToDtype(torch.float32, scale=True))
    yield "torchvision v2 per sample, uint8", torchvision(images, v2.Identity())  # its advice; rounds each step
    for name, build in (("kornia, batched", kornia), ("albumentationsX per sample, uint8", albumentations)):
        try:
            yield name, build(images)
        except ModuleNotFoundError as error:
            yield name, f"{error.name} is not installed"


@click.command()
@click.option("--threads", default=1, show_default=True, help="Number of threads of torch and OpenCV.")
@click.option("--size", "sizes", multiple=True, default=(32, 96, 224), show_default=True, help="Side of images, px.")
@click.option("--rounds", default=9, show_default=True, help="Number of ABBA rounds.")
def main(threads: int, sizes: tuple[int, ...], rounds: int) -> None:
    """Print the ratio of our views per second to those of other libraries, as lines of JSON."""
    torch.set_num_threads(threads)
    facts = {"threads": threads, "machine": machine()}
    for size in sizes:
        images = canvases(size, max(64, min(256, 2**20 // size**2)))
        ids, ours = np.arange(len(images), dtype=np.uint64), policy(size)
        run = partial(make_views, {"global": ours}, {"global": 1}, images, ids, 0, 0)
        for name, reference in references(images):
            line = {"benchmark": "views", "size": size, "images": len(images), "reference": name}
            measured = {"skipped": reference} if isinstance(reference, str) else faster(run, reference, rounds)
            print(json.dumps({**line, **measured, **facts}), flush=True)


if __name__ == "__main__":
    main()
