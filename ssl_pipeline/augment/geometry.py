"""Resampling: cropping, fitting and rotating images as pure batched functions of tensors.

Shrinking and enlarging use one separable triangle filter (antialiased bilinear resampling, as Pillow and torchvision
define it), written as two matrix products: exact, differentiable, the same on every device, and exportable to ONNX with
operators that every runtime has. Sampling an image at single points would alias wherever the image shrinks.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_pipeline.data.image_spec import RGB8, ImageSpec

__all__ = ["combine_rows", "fit", "resample", "rotate", "scaled", "triangle_filter", "triangle_taps"]

MIN_MEASURED = 0.5
"""Smallest share of a resampled pixel that must have been measured; the rest of it is then ignored."""

_BANDS = 8
"""Number of parts in which `fit` reads an image. Each adds a few operations to a graph; with fewer parts, more of a
photograph is held as floats, and products are larger."""


def triangle_filter(pixels: int, start: Tensor, length: Tensor, positions: Tensor, target: Tensor) -> Tensor:
    """Return the weights with which each output pixel sees the pixels of one axis.

    The interval [start, start + length) of the axis is resampled to `target` pixels. The weights of an output pixel
    form a triangle around its centre, which reaches as far to either side as one input or one output pixel, whichever
    is larger; pixels outside the interval are not seen. For whole-numbered intervals, this is the antialiased bilinear
    filter of torchvision and Pillow. A pixel that a fractional interval cuts counts by the share of it that is inside.

    Args:
        pixels: Length of the axis.
        start: Beginning of the interval, (...,) float, in pixels.
        length: Length of the interval, (...,) float, in pixels, at least 1.
        positions: Numbers (..., out) float of the output pixels that are wanted, of `target`.
        target: Number of output pixels that the interval is resampled to, (...,) float.

    Returns:
        Weights (..., out, pixels) float32, whose rows sum to 1.
    """
    left = torch.arange(pixels, device=start.device, dtype=torch.float32)
    start, length, target = (value[..., None] for value in (start, length, target))
    scale = length / target
    return _triangle(left, start + (positions + 0.5) * scale, scale, (start, length))


def triangle_taps(
    pixels: int, start: Tensor, length: Tensor, positions: Tensor, target: Tensor, widest: float
) -> tuple[Tensor, Tensor]:
    """Return the filter of `triangle_filter` in another form: the few pixels that each output pixel sees.

    Args:
        pixels: Length of the axis.
        start: Beginning of the interval, (...,) float, in pixels.
        length: Length of the interval, (...,) float, in pixels, at least 1.
        positions: Numbers (..., out) float of the output pixels that are wanted, of `target`.
        target: Number of output pixels that the interval is resampled to, (...,) float.
        widest: Largest `length / target` that occurs.

    Returns:
        Numbers (..., out, K) int32 of pixels, all different for an output pixel, and their weights (..., out, K)
        float32. K is the same for all output pixels, so some weights are 0.
    """
    count = min(math.ceil(2 * max(widest, 1.0)) + 1, pixels)
    start, length, target = (value[..., None] for value in (start, length, target))
    scale = length / target
    centres = start + (positions + 0.5) * scale
    first = (centres - count / 2).round().clamp(0, pixels - count)  # at least half a pixel to spare on either side
    seen = first[..., None] + torch.arange(count, device=start.device, dtype=torch.float32)
    return seen.to(torch.int32), _triangle(seen, centres, scale, (start, length))


def _triangle(left: Tensor, centres: Tensor, scale: Tensor, interval: tuple[Tensor, Tensor]) -> Tensor:
    """Return weights (..., out, K) of pixels with left edges (K,) or (..., out, K), for centres (..., out).

    The interval is given by its start and length.
    """
    distance = (left + 0.5 - centres[..., None]).abs() / scale.clamp(min=1.0)[..., None]
    weights = (1 - distance).clamp(min=0)
    start, length = interval
    start, end = start[..., None], (start + length)[..., None]
    covered = torch.minimum(left + 1, end) - torch.maximum(left, start)
    weights = weights * covered.clamp(0, 1)
    return weights / weights.sum(-1, keepdim=True)


def combine_rows(images: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Make each output row from a few rows of an image: a product with a matrix that is nearly all zeros.

    Each sum has a fixed order, so that its last bit depends neither on the batch nor on threads.

    Args:
        images: Images (N, C, H, W), float32.
        rows: Numbers (N, S, K) int32, in [0, H), of the rows that each output row is made of.
        weights: Weights (N, S, K) of these rows, float32.

    Returns:
        Images (N, C, S, W) float32, with the values of `weights @ images`.
    """
    n, channels, height, width = images.shape
    tables = torch.arange(0, n * channels * height, height, device=images.device, dtype=torch.int32)
    bags = (rows[:, None] + tables.view(n, channels, 1, 1)).flatten(0, 2)
    shares = weights[:, None].expand(-1, channels, -1, -1).flatten(0, 2)
    images = images.reshape(-1, width).contiguous()  # in other layouts, sums have another order
    made = F.embedding_bag(bags, images, mode="sum", per_sample_weights=shares)
    return made.view(n, channels, rows.shape[1], width)


def resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply one filter to each axis.

    Args:
        images: Images (N, H, W, C) of any dtype.
        rows: Weights (N, S, H) or (1, S, H), float32.
        columns: Weights (N, T, W) or (1, T, W), float32.

    Returns:
        Images (N, C, S, T) float32, in the units of `images`.
    """
    n, height, width, channels = images.shape
    flat = images.to(torch.float32).reshape(n, height, width * channels)
    short = torch.bmm(rows.expand(n, -1, -1), flat).reshape(n, rows.shape[1], width, channels)
    flat = short.permute(0, 3, 1, 2).reshape(n, channels * rows.shape[1], width)
    small = torch.bmm(flat, columns.expand(n, -1, -1).transpose(1, 2))
    return small.reshape(n, channels, rows.shape[1], columns.shape[1])


def scaled(values: Tensor, spec: ImageSpec) -> Tensor:
    """Return values, float32 in the images' units, as shares of the full scale, clamped to [0, 1]."""
    if spec.low:
        values = values - spec.low
    return (values / (spec.high - spec.low)).clamp(0, 1)


def fit(images: Tensor, size: int, mode: str, background: Sequence[float], spec: ImageSpec = RGB8) -> Tensor:
    """Resize images of any one shape to a square, in the way of the store's canvases, but without rounding.

    Args:
        images: Images (N, H, W, C) of the type that the spec names.
        size: Side of the square, S, in px.
        mode: Way of resizing: "squash" (both sides to S), "crop" (the largest centred square) or "letterbox" (the whole
            image, centred, with its longer side S).
        background: Value of each channel, in the units of the images, where an image has no pixels: in letterbox
            borders, and where more than half of a resampled pixel was not measured.
        spec: Description of the images: what their values mean.

    Returns:
        Images (N, C, S, S) float32 in [0, 1]. If H = W = S, they are exactly the original values, scaled.

    Raises:
        ValueError: Images have a height or width of 0.
    """
    height, width = images.shape[1:3]
    if height == 0 or width == 0:
        raise ValueError(f"images must have pixels, got {tuple(images.shape)}")
    slots = torch.arange(-(-size // _BANDS) * _BANDS, device=images.device).clamp(max=size - 1)
    rows, columns = (_axis(slots, size, pixels, (height, width), mode) for pixels in (height, width))
    fitted, *share = _resampled(images, rows, columns, size, spec)
    empty = torch.tensor(background, dtype=torch.float32, device=images.device).reshape(1, -1, 1, 1)
    if share:
        fitted = torch.where(share[0] >= MIN_MEASURED, fitted / share[0].clamp(min=MIN_MEASURED), empty)
    fitted = scaled(fitted, spec)  # weights sum to 1 up to a last bit
    if rows.inside is not None and columns.inside is not None:
        inside = rows.inside[:size, None] & columns.inside[:size]
        fitted = torch.where(inside, fitted, scaled(empty, spec))
    return fitted


class _Axis(NamedTuple):
    """The pixels from which the S output pixels of an axis are made, in B bands of E neighbours each, B * E >= S.

    Attributes:
        seen: Numbers (B, K) int64 of the pixels that a band is made of.
        weights: Weights (B, E, K) float32 of these pixels.
        inside: Whether an output pixel shows the image and not a border, (B * E,) bool; None if all do.
    """

    seen: Tensor
    weights: Tensor
    inside: Tensor | None


def _axis(slots: Tensor, size: int, pixels: int, sides: tuple[int, int], mode: str) -> _Axis:
    """Return how `fit` resizes one axis.

    Lengths may be symbols, whose values torch.export does not know. Each mode computes no more than it needs, because
    each operation makes the export of a graph a hundredth of a second longer.

    Args:
        slots: Numbers (B * E,) of the output pixels that are wanted.
        size: Length of the axis after resizing, S.
        pixels: Length of the axis.
        sides: Height and width of the image.
        mode: Way of resizing, as for `fit`.
    """
    start: int | torch.SymInt = 0
    length: int | torch.SymInt = pixels
    target: int | torch.SymInt = size
    inside = None
    if mode == "crop":
        length = torch.sym_min(*sides)
        start = (pixels - length) // 2
    elif mode == "letterbox":
        longest = torch.sym_max(*sides)
        target = torch.sym_max((2 * pixels * size + longest) // (2 * longest), 1)  # rounded half up
        slots = slots - (size - target) // 2
        inside = (slots >= 0) & (slots < target)
        slots = slots.clamp(0, target - 1)
    scale: Tensor = torch.full((1,), length, device=slots.device) / target  # type: ignore[assignment]
    centres = ((slots + 0.5) * scale).reshape(_BANDS, -1, 1)  # within the interval: far from 0, float32 is less exact
    # a band sees the pixels between its outer centres, (E - 1) * scale, half a triangle beyond each, and rounding
    count = torch.sym_min((centres.shape[1] + 1) * length // target + 5, length)
    reach = scale.clamp(min=1)
    first = (centres[:, :1] - reach - 0.5).floor().clamp(0, length - count)
    near = first + torch.arange(count, device=slots.device)  # (B, 1, K)
    weights = (1 - (near + 0.5 - centres).abs() / reach).clamp(min=0)
    return _Axis(near[:, 0].to(torch.int64) + start, weights / weights.sum(-1, keepdim=True), inside)


def _resampled(images: Tensor, rows: _Axis, columns: _Axis, size: int, spec: ImageSpec) -> Sequence[Tensor]:
    """Apply a filter to each axis, without holding a whole photograph as floats, which take four times its memory.

    A filter is a matrix that is nearly all zeros. For the rows, the pixels of one band after the other are converted to
    floats and multiplied by the weights of that band, which makes the products smaller by the same factor. The result,
    S x W pixels, is small if an image is much higher than S, so the bands of its columns are multiplied at once.
    An image that is lower than S and very wide is enlarged by this: `ssl_pipeline.runtime.resizing_pixels` accounts for
    it.

    Returns:
        Images (N, C, S, S) float32, in the units of `images`. If pixels may lack measurements, these are sums over the
        measured parts of pixels only, and are followed by the share of each pixel that was measured.
    """
    n, height, width, channels = images.shape
    planes = 2 if spec.may_lack_pixels else 1
    as_floats = partial(_measured, spec=spec) if spec.may_lack_pixels else _floats
    lines = images.reshape(n, height, width * channels)  # a -1 would be undefined where there is no image
    bands = (as_floats(lines.index_select(1, seen)) for seen in rows.seen.unbind(0))
    filters = rows.weights.expand(n, -1, -1, -1).unbind(1)
    short = torch.cat([torch.bmm(*pair) for pair in zip(filters, bands, strict=True)], dim=1)[:, :size]
    across = size * planes * channels
    lines = short.reshape(n, size, planes, width, channels).permute(0, 3, 1, 2, 4).reshape(n, width, across)
    seen = lines.index_select(1, columns.seen.flatten()).reshape(n * _BANDS, columns.seen.shape[1], across)
    small = torch.bmm(columns.weights.expand(n, -1, -1, -1).flatten(0, 1), seen).reshape(
        n, _BANDS * columns.weights.shape[1], across
    )[:, :size]
    return small.reshape(n, size, size, planes, channels).permute(3, 0, 4, 2, 1).unbind(0)


def _floats(values: Tensor) -> Tensor:
    return values.to(torch.float32)


def _measured(values: Tensor, spec: ImageSpec) -> Tensor:
    """Return values (N, K, Q) as floats, 0 if not measured, followed by as many: 1 if measured, else 0."""
    values = values.to(torch.float32)
    measured = values.abs() < math.inf  # false for NaN, too
    if spec.nodata is not None:
        measured = measured & (values != spec.nodata)
    return torch.cat([torch.where(measured, values, 0.0), measured.to(torch.float32)], dim=2)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate counter-clockwise around the centre, bilinearly; what comes in from outside is the image's reflection.

    A border of one colour would be a shortcut: its corners give the angle away. torchvision's black corners also have
    an edge that no photograph has.

    Args:
        images: Images (N, C, S, S).
        degrees: Angles (N,) in degrees.

    Returns:
        Images (N, C, S, S). Within the outline of the rotated image, they equal those of
        `torchvision.transforms.v2.functional.rotate`.
    """
    size = images.shape[-1]
    radians = degrees * (math.pi / 180)
    cos, sin = radians.cos()[:, None, None], radians.sin()[:, None, None]
    centres = torch.arange(size, device=images.device, dtype=torch.float32) + 0.5
    axis = centres * 2 / size - 1  # in (-1, 1)
    x, y = axis[None, None, :], axis[None, :, None]
    grid = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
