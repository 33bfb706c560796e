"""A contact sheet of the views of some images, on which a person can see whether they keep what matters."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from ssl_pipeline.augment.display import chosen_bands, displayed, shown_bands
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.data.store import open_split
from ssl_pipeline.products import atomic_file
from ssl_pipeline.randomness import hash64

__all__ = ["write_preview"]

IMAGES, VIEWS = 12, 6
CELL, GAP, TITLE = 96, 4, 16
"""Smallest side of a picture, width of the gaps between cells and height of the line of titles, in px."""
PAPER = "#9fb4c7"
"""A bluish background, on which white, grey and black borders of views stand out."""


def write_preview(store: Path, policies: Mapping[str, Policy], seed: int, path: Path) -> None:
    """Draw a PNG with one row for each of some training images: the image, then views of each kind, in the same size.

    Args:
        store: Path of the store, which has a split `train`.
        policies: Kind -> policy.
        seed: Seed of the choice of images, and of the views.
        path: Path of the picture to write.
    """
    pool = open_split(store, "train")
    rows = np.sort(np.argsort(hash64(seed, "preview", pool.ids), kind="stable")[:IMAGES])
    images = pool.images(rows)
    counts = dict.fromkeys(policies, VIEWS)
    views = make_views(policies, counts, torch.from_numpy(images), pool.ids[rows], seed, 0, pool.spec)
    largest = max(policy.size for policy in policies.values())
    step = largest * -(-CELL // largest) + GAP
    width = (1 + VIEWS * len(policies)) * step + GAP * (1 + len(policies))
    sheet = Image.new("RGB", (width, TITLE + len(rows) * step), PAPER)
    _column(sheet, GAP, shown_bands(pool.spec) or "image", displayed(images, pool.spec)[:, None], step)
    for index, (kind, made) in enumerate(views.items()):
        pixels = (chosen_bands(made, pool.spec, 2).permute(0, 1, 3, 4, 2) * 255).round().to(torch.uint8).numpy()
        left = step + 2 * GAP + index * (VIEWS * step + GAP)
        _column(sheet, left, f"{kind} ({policies[kind].size} px)", pixels, step)
    with atomic_file(path) as temporary:
        sheet.save(temporary, format="PNG")


def _column(sheet: Image.Image, left: int, title: str, pixels: npt.NDArray[np.uint8], step: int) -> None:
    """Paste pictures (N, V, S, S, 3), one row for each of N, below a title."""
    ImageDraw.Draw(sheet).text((left, 2), title, fill="black")
    for row, pictures in enumerate(pixels):
        for column, picture in enumerate(pictures):
            # Enlarged pixel by pixel: smoothing would hide what a network sees
            tile = Image.fromarray(picture).resize((step - GAP, step - GAP), Image.Resampling.BOX)
            sheet.paste(tile, (left + column * step, TITLE + row * step))
