"""Baselines that a trained backbone must beat: pixels, colours, and the same network with random weights."""

from copy import deepcopy

import numpy as np
import numpy.typing as npt

from ssl_pipeline.artifacts.assembly import untrained
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.from_pixels import FromPixels, embedding
from ssl_pipeline.evaluation.calibration import calibrate_on
from ssl_pipeline.evaluation.features import Embed, embedder
from ssl_pipeline.registry import Registry
from ssl_pipeline.training.precision import best_device
from ssl_pipeline.types import Encoder

__all__ = ["colour_histogram", "random_encoder", "raw_pixels", "starting_encoders"]

Images = Pixels
Features = npt.NDArray[np.float32]

_MAX_SIDE = 16  # px: for 10,000 CIFAR-10 images, as good as 32 px (39%) in a seventh of the time
_BINS_PER_BAND = 32  # equal parts of a band's full scale


def raw_pixels(images: Images, spec: ImageSpec = RGB8) -> Features:
    """Return raw pixels in [0, 1]; images larger than 16 px are first reduced to 16 x 16 by averaging areas.

    Args:
        images: Images (n, S, S, C) of the type that `spec` describes.
        spec: Meaning of the images' values.

    Returns:
        Features (n, C * min(S, 16) ** 2), float32.
    """
    canvas = images.shape[1]
    side = min(canvas, _MAX_SIDE)
    edges = np.arange(side + 1) * (canvas / side)
    left = np.arange(canvas)
    overlap = np.minimum(left + 1, edges[1:, None]) - np.maximum(left, edges[:-1, None])
    area = (np.maximum(overlap, 0) * (side / canvas)).astype(np.float32)  # (side, S), rows sum to 1
    shares = (images.astype(np.float32) - np.float32(spec.low)) / np.float32(spec.high - spec.low)
    rows = np.tensordot(shares, area, axes=(1, 1))  # (n, S, C, side)
    pixels = np.tensordot(rows, area, axes=(1, 1))  # (n, C, side, side)
    return pixels.reshape(len(images), spec.channels * side * side)


def colour_histogram(images: Images, spec: ImageSpec = RGB8) -> Features:
    """Return the shares of pixels in 8 x 8 x 8 equal boxes of RGB space or, for other images, in 32 bins per band.

    Args:
        images: Images (n, S, S, C) of the type that `spec` describes.
        spec: Meaning of the images' values.

    Returns:
        Features (n, 512) or (n, 32 * C), float32; rows sum to 1.
    """
    count, pixels = len(images), images.shape[1] * images.shape[2]
    if not (spec.is_rgb and spec.dtype == "uint8"):
        return _band_histograms(images, spec)
    red, green, blue = np.moveaxis((images >> 5).astype(np.int64).reshape(count, pixels, 3), -1, 0)
    boxes = red * 64 + green * 8 + blue + np.arange(count)[:, None] * 512
    counts = np.bincount(boxes.ravel(), minlength=count * 512).reshape(count, 512)
    shares: Features = (counts / pixels).astype(np.float32)
    return shares


def _band_histograms(images: Images, spec: ImageSpec) -> Features:
    """Return the shares (n, 32 * C) of all values in 32 equal bins of the full scale of each band."""
    shares = (images.astype(np.float32) - np.float32(spec.low)) / np.float32(spec.high - spec.low)
    parts = (shares * _BINS_PER_BAND).astype(np.int64).clip(0, _BINS_PER_BAND - 1)  # (n, S, S, C)
    boxes = parts + np.arange(spec.channels) * _BINS_PER_BAND
    count, length = len(images), spec.channels * _BINS_PER_BAND
    boxes += np.arange(count)[:, None, None, None] * length
    counts = np.bincount(boxes.ravel(), minlength=count * length).reshape(count, length)
    found: Features = (counts / (boxes[0].size if count else 1)).astype(np.float32)
    return found


def random_encoder(registry: Registry, card: ModelCard, l2_normalize: bool, seed: int, pool: Split | None) -> Embed:
    """Return an embedder with the pretrained model's network and pixel pipeline, but random weights.

    Uncalibrated batch norms have the statistics 0 and 1, and are often considered an unfair baseline. For a probe on
    standardised features, they are not: the uncalibrated network was the stronger baseline on digits (ResNet-8, 91%
    against 90%, best of 3) and on CIFAR-10 (ResNet-18, 38% against 30%). A backbone should beat both.

    Args:
        registry: Registry of the backbones.
        card: Card of the exported encoder, of which only the architecture up to its layer is used; the random network
            sees colours even if the exported encoder does not.
        l2_normalize: Whether embeddings are scaled to unit length, like those of the exported backbone.
        seed: Seed of the weights.
        pool: Images to calibrate batch norms on, namely those that the pretrained model learned from; None leaves
            batch norms as they are initialised.
    """
    return _in_place(untrained(registry, card, seed), card, l2_normalize, pool)


def starting_encoders(
    start: Encoder | None, card: ModelCard, layer: int | None, l2_normalize: bool, pool: Split
) -> list[Embed]:
    """Return embedders with the starting weights of pretraining: one with their batch-norm statistics, one calibrated.

    Args:
        start: Whole encoder before pretraining, which is not modified; None if its weights were random.
        card: Card of the whole pretrained encoder.
        layer: Layer that ships, from 1; None for the backbone's own embedding.
        l2_normalize: Whether embeddings are scaled to unit length, like those of the exported backbone.
        pool: Images to calibrate batch norms on.

    Returns:
        Two embedders; none if pretraining started from random weights.
    """
    if start is None:
        return []
    return [_in_place(deepcopy(start).at(layer), card, l2_normalize, images) for images in (None, pool)]


def _in_place(encoder: Encoder, card: ModelCard, l2_normalize: bool, pool: Split | None) -> Embed:
    """Return an embedder that runs an encoder in place of the pretrained one, on the same pixels."""
    network = FromPixels(card, embedding(encoder, l2_normalize)).to(best_device())
    if pool is not None:
        calibrate_on(network, pool)
    return embedder(network)
