"""What many tests need: the card of a small model, stores of real digits, and readers of what a store contains."""

import csv
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.config import Choice
from ssl_pipeline.data.captions import Captions
from ssl_pipeline.data.labels import write_labels
from ssl_pipeline.data.moments import Moment, Moments
from ssl_pipeline.data.store import IndexRow, Original
from ssl_pipeline.data.writer import write_index, write_originals, write_split
from ssl_pipeline.recipes import Recipe

BACKBONE = Choice.model_validate({"name": "resnet_cifar", "depth": 8, "width": 4})
"""A network of a few thousand weights with embeddings of length 16."""

MEAN, STD = (0.3, 0.3, 0.3), (0.37, 0.37, 0.37)
"""Approximate mean and standard deviation of the digits, per channel."""

Relabel = Callable[[str, npt.NDArray[np.int64]], list[str]]
"""A function from a split and its digits to the names of their classes, "" for an image without a label."""

Describe = Callable[[str, npt.NDArray[np.int64]], Captions]
"""A function from a split and its digits to their captions."""

Time = Callable[[str, npt.NDArray[np.int64]], Moments]
"""A function from a split and its digits to their moments."""

SPELLED = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def model_card(**changes: Any) -> ModelCard:
    """Return the card of `BACKBONE`, trained on images of 8 px; keyword arguments replace single values."""
    usual: dict[str, Any] = {
        "backbone": BACKBONE,
        "recipe": Recipe(name="rotation", pretext_task=Choice(name="rotation")),
        "embedding_dim": 16,
        "size": 8,
        "resize": "squash",
        "background": (255, 255, 255),
        "mean": MEAN,
        "std": STD,
        "seed": 0,
        "batch_size": 64,
        "weights_sha256": "",
        "params_sha256": "",
        "plugins": {},
        "versions": versions(),
    }
    return ModelCard(**{**usual, **changes})


def digit_images(count: int | None = None) -> npt.NDArray[np.uint8]:
    """Return the first `count` real digits (default: all 1797) as (N, 8, 8, 3) uint8, white on black."""
    grey = (load_digits().images[:count] * 15.9375).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)


def as_they_are(split: str, labels: npt.NDArray[np.int64]) -> list[str]:
    """Return the names of the digits' own classes."""
    del split
    return [f"digit {label}" for label in labels]


def spelled_out(split: str, labels: npt.NDArray[np.int64]) -> Captions:
    """Return a caption for each digit; every fifth image has two captions, and every seventh has none."""
    del split
    names = [(f"a handwritten {SPELLED[label]}", f"the number {SPELLED[label]}") for label in labels]
    return Captions.of([() if row % 7 == 6 else both[: 2 if row % 5 == 4 else 1] for row, both in enumerate(names)])


def in_clips(split: str, labels: npt.NDArray[np.int64]) -> Moments:
    """Return clips of eight frames, half a second apart; the last clip may be shorter."""
    return Moments.of([Moment(f"{split} {row // 8}", row % 8 / 2) for row in range(len(labels))])


def digits_store(
    store: Path,
    sizes: Mapping[str, int],
    relabel: Relabel = as_they_are,
    originals: int = 0,
    captions: Describe | None = None,
    moments: Time | None = None,
) -> None:
    """Write a new store with as many digits per split as `sizes` says, in the order of the data set.

    Args:
        store: Folder of the store.
        sizes: Number of images of each split.
        relabel: Function that names the classes.
        originals: Number of training images that are also stored as originals.
        captions: Function that describes the digits; None for a store without captions.
        moments: Function that returns the clip and time of each digit; clips become groups. None: no digit is a frame.
    """
    images, labels = digit_images(), load_digits().target
    rows, start = [], 0
    shutil.rmtree(store, ignore_errors=True)
    for split, size in sizes.items():
        part = slice(start, start + size)
        told = captions(split, labels[part]) if captions else None
        seen = moments(split, labels[part]) if moments else None
        ids = np.arange(start, start + size, dtype=np.uint64)
        write_split(store / split, ids, [images[part]], 8, captions=told, moments=seen)
        for row, label in enumerate(relabel(split, labels[part])):
            group = f"clip {split} {seen.clips[row]}" if seen else ""
            rows.append(IndexRow(f"{start + row:016x}", f"{start + row}.png", label, split, group, 8, 8, row))
        start += size
    write_labels(store, rows)
    write_index(store, rows)
    if originals:
        write_originals(store, [Original(images[row], "train", row) for row in range(originals)])


def read_index(store: Path) -> list[IndexRow]:
    """Return the rows of a store's index.csv."""
    with (store / "index.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file, strict=True)
    assert tuple(header) == IndexRow._fields
    return [IndexRow(*row[:5], *map(int, row[5:9]), *row[9:]) for row in rows]  # type: ignore[arg-type]


def cpu_alone(provider: str, threads: int | None = None) -> list[str]:
    """Stand in for `execution.wanted`, and refuse every provider but the CPU."""
    assert provider == "cpu", "results that are stored, or that judge a file for CPUs, must not depend on a GPU"
    return ["CPUExecutionProvider"]
