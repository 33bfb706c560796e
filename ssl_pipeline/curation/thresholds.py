"""Thresholds of the cosine that ship with a backbone: for the same image, for near-duplicates, and for novel images.

They are computed only on images of the training and validation splits, and on the CPU: they become part of the file,
whose bytes must not depend on the presence of a GPU.

- **same image**: the cosine of a validation image and a re-encoded copy of it. All but a small share of copies are
  above the threshold.
- **near-duplicate**: the cosine above which images are nearer to each other than different images are expected to be;
  see `ssl_pipeline.curation.near_duplicates.least_distance`.
- **novel**: the cosine of a validation image and the most similar training image, which the model has seen. A new image
  of the same kind is below the threshold with at most a stated probability.

The first and the third are order statistics: among n values that are exchangeable with a new one, the new value is
below the k-th smallest with a probability of at most k / (n + 1). Source: Vovk, Gammerman and Shafer 2005, "Algorithmic
Learning in a Random World", on conformal prediction.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ssl_pipeline.curation.near_duplicates import least_distance
from ssl_pipeline.curation.neighbourhood import look_around
from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.deployment.stored import embed_stored
from ssl_pipeline.neighbours import nearest, unit

__all__ = ["find_thresholds", "reencoded"]

POOL_IMAGES, HELD_OUT_IMAGES = 2000, 500
"""Largest numbers of training and validation images to use."""
MISSED, NOVEL = 0.01, 0.05
"""Largest share of copies that may be mistaken for other images, and of images of the same kind for novel ones."""
QUALITY = 75

_COPIES_AT_A_TIME = 32

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


def find_thresholds(backbone: Path, pool: Split, held_out: Split) -> dict[str, dict[str, Any]]:
    """Return thresholds of the cosine with their error rates; empty if there are too few images.

    Args:
        backbone: Path of the exported file.
        pool: Training images.
        held_out: Validation images.

    Returns:
        Name of a threshold -> `cosine` and its error rates; thresholds that cannot be estimated are left out.

    Raises:
        PipelineError: The backbone cannot be run, or an image is damaged.
    """
    if not len(pool) or not len(held_out):
        return {}
    known, some = _some(pool, POOL_IMAGES), _some(held_out, HELD_OUT_IMAGES)
    embeddings = embed_stored(backbone, [pool, held_out], np.concatenate([known, len(pool) + some]), "cpu")
    seen, new = embeddings[: len(known)], embeddings[len(known) :]
    copies = _embed_copies(backbone, held_out, some)
    if not (np.isfinite(embeddings).all() and np.isfinite(copies).all()):
        return {}
    around = look_around(embeddings, np.arange(len(embeddings)))
    closest, distance = around.similarities[:, 0], least_distance(around)
    same, missed = _quantile((copies * new).sum(axis=1), MISSED)
    novel, alarms = _quantile(nearest(seen, new, 1)[0][:, 0], NOVEL)
    found: dict[str, dict[str, Any]] = {
        "same_image": {
            "cosine": same,
            "copies_missed": missed,
            "others_taken": _share(closest >= same),
            "copies": f"JPEG of quality {QUALITY}, band by band",
            "images": len(some),
        },
        "novel": {
            "cosine": novel,
            "false_alarms": alarms,
            "images": len(some),
            "compared_with": len(known),
        },
    }
    if distance > 0:
        near = _rounded(1 - distance**2 / 2)
        found["near_duplicate"] = {"cosine": near, "images_taken": _share(closest >= near), "images": len(embeddings)}
    return found


def reencoded(image: Pixels, spec: ImageSpec) -> Pixels:
    """Return a copy (H, W, C) of an image with the losses of compression; unmeasured pixels stay unmeasured."""
    scale = spec.high - spec.low
    shares = np.nan_to_num((image.astype(np.float64) - spec.low) / scale).clip(0, 1)
    bands = [_jpeg(band) for band in np.moveaxis((255 * shares).round().astype(np.uint8), 2, 0)]
    values = spec.low + np.stack(bands, axis=2) / 255 * scale
    rounded = (values if spec.dtype == "float32" else values.round()).astype(spec.numpy_dtype)
    copy: Pixels = np.where(~np.isfinite(image) | (image == spec.nodata), image, rounded)
    return copy


def _embed_copies(backbone: Path, split: Split, positions: Numbers) -> Features:
    """Return unit-norm embeddings (m, D) of re-encoded copies of images of a split."""
    session, parts = open_session(backbone, provider="cpu"), []
    for start in range(0, len(positions), _COPIES_AT_A_TIME):
        images = split.images(positions[start : start + _COPIES_AT_A_TIME])
        parts.append(run(session, np.stack([reencoded(image, split.spec) for image in images])))
    return unit(np.concatenate(parts))


def _jpeg(band: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a band (H, W) after JPEG compression."""
    file = io.BytesIO()
    Image.fromarray(band).save(file, "jpeg", quality=QUALITY)
    return np.asarray(Image.open(file))


def _some(split: Split, most: int) -> Numbers:
    """Return evenly spaced positions of up to `most` images, which are in the order of hashes of their content."""
    return np.arange(len(split))[:: -(-len(split) // most)]


def _quantile(values: Features, rate: float) -> tuple[float, float]:
    """Return a lower bound that a new value falls below with probability at most `rate`, and that probability.

    If there are too few values for the rate, the bound is the smallest value, and the probability is above the rate.
    """
    rank = max(1, int(rate * (len(values) + 1)))
    return _rounded(np.sort(values)[rank - 1]), round(rank / (len(values) + 1), 6)


def _share(chosen: npt.NDArray[np.bool_]) -> float:
    return round(float(chosen.mean()), 6)


def _rounded(cosine: float | np.floating[Any]) -> float:
    """Return a cosine, rounded down, so that the images that it was computed from stay on the same side."""
    return float(np.floor(1e6 * float(cosine)) / 1e6)
