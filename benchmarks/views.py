"""Views a second, ours to torchvision's: `python -m benchmarks.views [--threads N] [--size PX]`.

The same SimCLR policy twice: as `make_views` computes it, hashing and all, on whole batches; and as torchvision's v2
transforms, one sample at a time, as a worker of a data loader runs them. They take turns in one process; the fastest of
their turns are compared, because whatever else the machine does only adds time. Stacking torchvision's views into a
batch is not counted, nor are worker processes: compare a thread with a thread.
"""

import time
from collections.abc import Callable

import click
import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views

IMAGES, TURNS = 256, 9


def canvases(size: int) -> torch.Tensor:
    """Patches of two photographs: (IMAGES, size, size, 3) uint8."""
    photographs = load_sample_images().images
    height, width = photographs[0].shape[:2]
    patches = []
    for i in range(IMAGES):
        top, left = i * 37 % (height - size), i * 53 % (width - size)
        patches.append(photographs[i % 2][top : top + size, left : left + size])
    return torch.from_numpy(np.stack(patches))


def policy(size: int) -> Policy:
    return Policy.model_validate(
        {
            "size": size,
            "random_resized_crop": {"p": 1.0, "scale": [0.2, 1.0], "ratio": [0.75, 1.333]},
            "horizontal_flip": {"p": 0.5},
            "color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
            "grayscale": {"p": 0.2},
            "gaussian_blur": {"p": 0.5, "sigma": [0.1, 1.0]},
        }
    )


def torchvision_policy(size: int, first: v2.Transform) -> v2.Compose:
    return v2.Compose(
        [
            first,
            v2.RandomResizedCrop(size, scale=(0.2, 1.0), ratio=(0.75, 1.333), antialias=True),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(7, (0.1, 1.0))], 0.5),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@click.command()
@click.option("--threads", default=1, show_default=True, help="Threads of torch, for both.")
@click.option("--size", default=32, show_default=True, help="Side of canvases and views, in px.")
def main(threads: int, size: int) -> None:
    """Print views per second and ratios."""
    torch.set_num_threads(threads)
    images, ids, ours = canvases(size), np.arange(IMAGES, dtype=np.uint64), policy(size)
    channels_first = list(images.permute(0, 3, 1, 2).contiguous())
    float_steps = torchvision_policy(size, v2.ToDtype(torch.float32, scale=True))
    uint8_steps = torchvision_policy(size, v2.Identity())  # torchvision's own advice; rounds after each transform
    runs: dict[str, Callable[[], object]] = {
        "make_views": lambda: make_views({"global": ours}, {"global": 1}, images, ids, 0, 0),
        "torchvision v2, float32": lambda: [float_steps(image) for image in channels_first],
        "torchvision v2, uint8": lambda: [uint8_steps(image) for image in channels_first],
    }
    times = {name: [] for name in runs}
    for turn in range(TURNS + 1):
        for name, run in runs.items():
            elapsed = seconds(run)
            if turn:  # the first turn warms up
                times[name].append(elapsed)
    mine = min(times["make_views"])
    for name, values in times.items():
        best = min(values)
        print(f"{name:24} {IMAGES / best:8,.0f} views/s   make_views is {best / mine:4.1f} times as fast")


if __name__ == "__main__":
    main()
